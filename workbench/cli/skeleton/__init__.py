"""What `specwb new-path` writes: a port that runs as it is, and its test."""
