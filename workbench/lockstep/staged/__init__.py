"""Staged lockstep: the path under test decodes, the reference judges every stage on the same values."""
