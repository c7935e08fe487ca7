"""Judges steps and runs: verdicts, allowances, near ties, attribution, one log of findings. numpy only."""
