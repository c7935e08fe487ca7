"""Batch screens: which of many steps may break a rule, one bool per step, never missing one that does.

A screen only says "look here". The loop over rules is the law, and alone writes findings.
"""
