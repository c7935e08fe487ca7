"""Named faults and the kill matrix."""
