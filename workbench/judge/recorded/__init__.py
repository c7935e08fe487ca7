"""Recorded runs judged again, from disk alone; no torch."""
