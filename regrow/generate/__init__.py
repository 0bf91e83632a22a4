"""Batched sampling with a cache."""
