"""What goes into the script of a reduced case: plain torch, importing nothing of ours, written to be read.

Each module is copied into the script as it is, but for its docstring and imports, so names are shared by all.
"""
