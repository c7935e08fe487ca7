"""Random legal steps and clean runs at scale, none of which may give a finding: `make clean-runs`."""
