"""``autoprune mcp``: a server through which an agent designs."""

import argparse

NAME = "mcp"
HELP = "serve the Model Context Protocol, so that an agent can run a search and design in it"
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


def run(args: argparse.Namespace) -> int:
    """Serve until stdin is closed."""
    import os
    from pathlib import Path

    from autoprune.errors import UsageError
    from flows.agents.project import Project
    from flows.agents.server import build_server
    from tasks.state import State

    root = Path(args.project).expanduser().absolute()
    if not root.is_dir():
        raise UsageError(f"the project's folder {root} does not exist; name one with --project")
    # What an agent names, and the state folder, are of the project.
    os.chdir(root)
    build_server(Project(root, State.open())).run("stdio")
    return 0
