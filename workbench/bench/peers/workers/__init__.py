"""Run in the environments of other engines, as files: `python wire.py NAME_side`."""
