"""Drafter networks of the fused path."""
