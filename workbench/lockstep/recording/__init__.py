"""Records a path while it runs: rows, digests, the checks before a launch."""
