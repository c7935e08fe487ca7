"""Branch and commit: the committed cache, its replicas, and the ways to adopt an accepted path."""
