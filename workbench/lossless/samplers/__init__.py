"""Rejection samplers of engines as verify functions; each imports its engine when it is called."""
