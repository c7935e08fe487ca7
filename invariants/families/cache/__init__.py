"""The cache: lengths, paths, digests, slots."""
