"""The command line: grammar, options made from parameter models, exit codes."""

from flows.cli.entry import main

__all__ = ["main"]
