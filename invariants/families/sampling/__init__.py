"""Rules about sampled runs: draws, decisions, support, settings of requests."""
