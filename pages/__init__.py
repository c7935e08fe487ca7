"""Pages, pictures and data files that are written from the code; not in the wheel."""
