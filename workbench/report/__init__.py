"""Findings and runs as text, json, junit, sarif, github and html."""
