"""Attacks on files and writers of traces and on readers of checkpoints, at scale; not in the wheel."""
