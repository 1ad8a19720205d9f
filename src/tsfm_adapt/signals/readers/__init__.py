"""Readers: one module for each file format, with a `Config` that yields recordings."""
