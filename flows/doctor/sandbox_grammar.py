"""Grammar of ``autoprune sandbox``."""

import argparse

DESCRIPTION = """\
build: make the sandbox image from what is on this machine, without a registry.
check: try every protection on this machine and report what held (exit code 4
if one did not).
"""
EXAMPLE = "autoprune sandbox build"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("action", choices=("build", "check"), help="what to do")
    parser.add_argument(
        "--image",
        choices=("auto", "bind", "interpreter", "dockerfile"),
        default="auto",
        help="source of the image; auto: an interpreter or dockerfile image where one exists, else "
        "bind (default auto)",
    )
    parser.add_argument(
        "--from-interpreter",
        dest="image",
        action="store_const",
        const="interpreter",
        help="same as --image interpreter: pack what is on this machine, without a registry",
    )
    parser.add_argument("--base", metavar="IMAGE", help="base image for --image dockerfile")
    parser.add_argument(
        "--wheels", metavar="DIR", help="wheels for --image dockerfile, which then uses no network"
    )
    parser.add_argument(
        "--runtime", metavar="NAME", help="check with this OCI runtime, such as runsc"
    )
