"""A first look at recordings that nobody has described: what they hold, and a recipe for them."""
