"""Errors, intervals, calibration and the verdict; knows no task and no model."""
