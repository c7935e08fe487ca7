"""Many steps at once: columns as Arrow stores them, the prefilter over them, and what it lets pass."""
