"""Faults by family; each module lists its own in `FAULTS`."""
