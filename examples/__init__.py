"""Examples that run: train the shipped pair, bring your own path."""
