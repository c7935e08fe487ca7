"""Words and records: what both paths, the rules and the screen agree on. numpy and pyarrow only."""
