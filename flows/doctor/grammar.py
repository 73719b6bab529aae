"""Grammar of ``autoprune doctor``."""

import argparse

DESCRIPTION = """\
Check versions, Docker, the sandbox image and every protection of the sandbox,
designer, demo model and text, stores and disk. The exit code is 4 if something
is missing. With --build, make the sandbox image instead, from what is on this
machine unless a Dockerfile is asked for.
"""
EXAMPLE = "autoprune doctor --build"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument(
        "--ask",
        action="store_true",
        help="start the local designer and check which answer format it enforces, if no search "
        "has yet",
    )
    parser.add_argument(
        "--build",
        nargs="?",
        const="auto",
        choices=("auto", "bind", "interpreter", "dockerfile"),
        help="build the sandbox image from this source (default auto)",
    )
    parser.add_argument("--base", metavar="IMAGE", help="base image for --build dockerfile")
    parser.add_argument(
        "--wheels",
        metavar="DIR",
        help="wheels for --build dockerfile, which then uses no network",
    )
    parser.add_argument(
        "--runtime", metavar="NAME", help="check with this OCI runtime, such as runsc"
    )
