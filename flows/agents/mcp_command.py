"""``autoprune mcp``: a server through which an agent designs."""

import argparse
import os
from pathlib import Path

from autoprune.errors import UsageError
from flows.agents.server import build_server
from tasks.state import State


def run(args: argparse.Namespace) -> int:
    """Serve until stdin is closed."""
    root = Path(args.project).expanduser().absolute()
    if not root.is_dir():
        raise UsageError(f"the project's folder {root} does not exist; name one with --project")
    # The state folder is relative to the project.
    os.chdir(root)
    build_server(State.open()).run("stdio")
    return 0
