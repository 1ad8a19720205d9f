"""What a model is trained and scored for, one task a module."""
