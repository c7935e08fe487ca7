"""Runs a path: one step, stage by stage, under an observer."""
