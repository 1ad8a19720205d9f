"""Recordings from file to window: numpy and pandas only."""
