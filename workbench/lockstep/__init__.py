"""Drives two paths, feeds, judges, resyncs."""
