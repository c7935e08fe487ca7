"""Files to plain data; the load report; the shipped pair."""
