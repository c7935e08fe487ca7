"""Rules on arrays: stable ids, named defects, findings as data. numpy only."""
