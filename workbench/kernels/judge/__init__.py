"""Judges of a candidate's outputs: a public benchmark's rules by name, and ours, which closes their holes."""
