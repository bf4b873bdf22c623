"""SIMPLER's tasks, one family a file."""
