"""Recipes, nodes, fingerprints and execution."""
