"""Heads: small networks on a backbone's tokens, for tasks that its own output layers do not do."""
