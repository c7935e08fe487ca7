"""Mistakes of the level port of the examples, family by family."""
