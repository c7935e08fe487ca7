"""Visibility."""
