"""Surveys recordings without a description, and proposes a recipe for them."""
