"""Families of rules: laws, prefilter clauses, when they apply, and mutations."""
