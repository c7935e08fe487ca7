"""The border to Ascend's operators: ways in, contracts, the CPU twin."""
