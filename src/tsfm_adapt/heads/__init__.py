"""Heads: what is put on a backbone's tokens where its own head does not do the task."""
