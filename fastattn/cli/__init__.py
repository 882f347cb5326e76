"""The `fastattn` command, one file a sub-command. What takes long to import is imported when a sub-command runs."""
