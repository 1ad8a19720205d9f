"""Networks of adapters that are more than a few tensors; imported inside functions only."""
