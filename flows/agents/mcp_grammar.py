"""Grammar of ``autoprune mcp``."""

import argparse

DESCRIPTION = """\
Serve the Model Context Protocol on stdin and stdout, with tools to start a
search, take and answer its questions, and read, compare and evaluate the
results. What an agent sends runs only in the sandbox, and an agent can name
only files of the project's folder. Searches outlive the server. See
docs/agents.md.
"""
EXAMPLE = "autoprune mcp --project ."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument(
        "--project", metavar="DIR", default=".", help="the project's folder (default: this one)"
    )
