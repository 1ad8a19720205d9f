"""Networks of the heads."""
