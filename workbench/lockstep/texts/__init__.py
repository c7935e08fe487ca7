"""Texts of closed engines against the teacher."""
