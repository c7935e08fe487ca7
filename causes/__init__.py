"""How well findings name their cause: single mistakes in several ports, and what is said first of each."""
