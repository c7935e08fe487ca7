"""What watching costs: one table of sizes and times, with the goal of each and how it was measured."""
