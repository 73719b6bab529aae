"""Grammar of ``autoprune mcp``."""

import argparse

DESCRIPTION = (
    "Serve the Model Context Protocol on stdin and stdout: tools to start a search, take its "
    "questions, answer them, and read, compare and evaluate what came out. What an agent sends is "
    "run in the sandbox alone, and it may name files of the project's folder only. Searches "
    "outlive the server. See docs/agents.md."
)
EXAMPLE = "autoprune mcp --project ."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument(
        "--project", metavar="DIR", default=".", help="the project's folder (default: this one)"
    )
