"""One file format a module; each holds a `Config` that yields recordings or events."""
