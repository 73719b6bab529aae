"""Grammar of ``autoprune instruct``."""

import argparse

from flows.instruct.params import InstructParams
from flows.terminal.options import add_options, given, settled

DESCRIPTION = """\
build: a language model sorts the threads of RAW.jsonl, chooses the replies that
solve them and rewrites each reply twice. What both rewrites agree on, up to the
day --until, becomes a training set of conversations.

bench: do the same from the day --from on, and write a window of dated questions
that the suite live reads.

Every answer is saved immediately: the same command continues where it stopped
and pays for nothing twice.
"""
EXAMPLE = "autoprune instruct build threads.jsonl --until 2023-12 --out train --designer local"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    add_options(parser, InstructParams)


def read(args: argparse.Namespace) -> InstructParams:
    """The parameters that were typed; they go together, and the threads are there."""
    return settled(InstructParams, given(args, InstructParams))
