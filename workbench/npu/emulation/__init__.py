"""Arithmetic that several emulations share."""
