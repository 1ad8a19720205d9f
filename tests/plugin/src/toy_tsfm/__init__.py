"""Toy components: one of each kind, found through the entry points of pyproject.toml."""
