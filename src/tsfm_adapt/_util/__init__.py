"""What every room may use: atomic writes, the cache folder, progress, processes."""
