"""Rejudges recorded runs from disk alone; no torch."""
