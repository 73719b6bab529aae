"""Grammar of ``autoprune compact``."""

import argparse

from autoprune.errors import UsageError
from flows.compact.params import CompactParams
from flows.terminal.options import add_options, given, settled

DESCRIPTION = """\
Write the folder of a pruned model without its zeros, read it back and compare
every bit. A folder that is already compact is restored, byte for byte, to the
one that `from_pretrained` opens. Tensors that are not sparse stay as they are.
"""
EXAMPLE = "autoprune compact pruned pruned-compact"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument(
        "places",
        nargs="*",
        metavar="MODEL OUT",
        help="folder of a saved or compact model, and the folder to write",
    )
    add_options(parser, CompactParams, also_words=("model", "out"))


def read(args: argparse.Namespace) -> CompactParams:
    """The parameters that were typed; model and target are words or options."""
    typed, words = given(args, CompactParams), list(args.places)
    for name in ("model", "out"):
        if name not in typed and words:
            typed[name] = words.pop(0)
    if words or not {"model", "out"} <= typed.keys():
        wrong = f"{words[0]!r} is one folder too many" if words else "a folder is missing"
        raise UsageError(f"{wrong}; write `autoprune compact MODEL OUT`")
    return settled(CompactParams, typed)
