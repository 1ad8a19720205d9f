"""Pretrained models behind one contract (`base.py`), one a module."""
