"""Real engines as paths under test, each in an environment of its own; not in the wheel."""
