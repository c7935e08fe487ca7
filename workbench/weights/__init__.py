"""Weights as words: lossless coding of floats and int4 packing, arrays to arrays."""
