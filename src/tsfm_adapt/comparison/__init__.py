"""Backbones x adapters x seeds on one recipe: trained, ranked, reported."""
