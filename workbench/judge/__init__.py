"""Verdicts, allowances, near ties and blame. numpy only."""
