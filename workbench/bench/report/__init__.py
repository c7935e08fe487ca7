"""A benchmark as one self-contained page; only this folder imports the plotting library."""
