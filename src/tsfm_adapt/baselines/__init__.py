"""Simple models that every adapted one is compared with."""
