"""Campaigns: many independent cases from a plan, run by many workers, merged into one verdict."""
