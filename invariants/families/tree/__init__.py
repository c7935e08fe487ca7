"""Tree topology and padding."""
