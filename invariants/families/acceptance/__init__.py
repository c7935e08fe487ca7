"""Acceptance and stops."""
