"""Which tree is fastest on this machine: costs of a step, acceptance, and a timed comparison of the best."""
