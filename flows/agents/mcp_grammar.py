"""Grammar of ``autoprune mcp``."""

import argparse

DESCRIPTION = """\
Serve the Model Context Protocol on stdin and stdout, with tools to list the
searches that ask, take and answer their questions, and read the results. Start
a search with --designer files. What an agent sends runs only in the sandbox,
and an agent can name only runs. See docs/agents.md.
"""
EXAMPLE = "autoprune mcp --project ."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument(
        "--project", metavar="DIR", default=".", help="the project's folder (default: this one)"
    )
