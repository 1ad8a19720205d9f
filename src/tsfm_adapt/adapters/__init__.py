"""Adaptation methods, one a module: each trains a small part of, or beside, a frozen backbone."""
