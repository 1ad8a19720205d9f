"""Small trainable parts behind one contract (`base.py`), one a module."""
