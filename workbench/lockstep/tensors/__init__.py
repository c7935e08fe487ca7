"""Tensors of any device as host arrays and digests."""
