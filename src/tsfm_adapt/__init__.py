"""Adapts pretrained time-series foundation models to multivariate biosignals."""

__version__ = "0.1.0"
