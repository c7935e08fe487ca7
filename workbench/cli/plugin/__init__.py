"""The pytest plugin, which runs in the user's process, where packages may have the names of ours."""
