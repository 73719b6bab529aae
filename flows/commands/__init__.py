"""The commands of the command line: each says what it takes, teaches it, and starts a flow.

Nothing heavy is imported at the top of these modules; each command imports its flow when it runs.
"""

import argparse
from typing import Protocol

from flows.commands import (
    calibrate,
    compact,
    compare,
    demo,
    design,
    doctor,
    down,
    evaluate,
    export,
    export_record,
    gc,
    inspect,
    instruct,
    ls,
    mcp,
    promote,
    prune,
    report,
    reproduce,
    resume,
    rm,
    sandbox,
    search,
    stage,
    up,
    validate,
    verify,
)


class Command(Protocol):
    """What a command module offers."""

    NAME: str
    HELP: str
    DESCRIPTION: str
    EXAMPLE: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's own options."""

    def run(self, args: argparse.Namespace) -> int:
        """Do the work; returns the exit code."""


ALL: tuple[Command, ...] = (
    demo,
    search,
    inspect,
    calibrate,
    prune,
    evaluate,
    compare,
    compact,
    export,
    instruct,
    validate,
    verify,
    promote,
    reproduce,
    report,
    export_record,
    design,
    doctor,
    up,
    down,
    resume,
    stage,
    ls,
    mcp,
    rm,
    gc,
    sandbox,
)
