"""Which tree is fastest on this machine: what steps cost, what they accept, and a run-off of the best."""
