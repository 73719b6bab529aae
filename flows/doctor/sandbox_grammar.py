"""Grammar of ``autoprune sandbox``."""

import argparse

from flows.doctor.sandbox_params import SandboxParams
from flows.terminal.options import add_options, given, settled

DESCRIPTION = """\
build: make the sandbox image from what is on this machine, without a registry.
check: try every protection on this machine and report what held (exit code 4
if one did not).
"""
EXAMPLE = "autoprune sandbox build"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    add_options(parser, SandboxParams)
    parser.add_argument(
        "--from-interpreter",
        dest="image",
        action="store_const",
        const="interpreter",
        default=argparse.SUPPRESS,
        help="same as --image interpreter: pack what is on this machine, without a registry",
    )


def read(args: argparse.Namespace) -> SandboxParams:
    """The parameters that were typed; they go together."""
    return settled(SandboxParams, given(args, SandboxParams))
