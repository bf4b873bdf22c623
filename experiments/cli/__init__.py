"""`foresight COMMAND key=value ...`: every command, its help, and errors of one line."""

from experiments.cli.run import command, main

__all__ = ["command", "main"]
