"""What the workbench and the paths under it cost, measured as ratios of two things in one run."""
