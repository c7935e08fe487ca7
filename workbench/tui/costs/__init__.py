"""What the screen costs: seconds to open, memory, and how long a move takes, seen from outside."""
