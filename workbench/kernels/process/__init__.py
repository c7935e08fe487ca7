"""Candidates run in a process of their own, with limits: what it does is a finding, never ours."""
