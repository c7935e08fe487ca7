"""Train the shipped pair from scratch: `python -m examples.tiny_pangu train --out DIR`."""
