"""The loop: its settings and checks, its cached stages, the folder a run leaves, what it says of a value."""
