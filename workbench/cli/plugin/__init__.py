"""The pytest plugin, which must live in anybody's process beside packages named like ours."""
