"""The CPU twin: one file per operator or small family; numerics only, the checks are in `contracts`."""
