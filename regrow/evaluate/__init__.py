"""Abilities, scoring, statistics, the code sandbox and the report."""
