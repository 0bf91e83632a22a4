"""Regrow the GPT-3.5 family tree from raw documents and see which stage gave which ability."""

__version__ = "0.1.0"
