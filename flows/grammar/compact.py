"""Grammar of ``autoprune compact``."""

import argparse

from flows.terminal.option_types import add_overwrite

DESCRIPTION = (
    "Write a pruned model's folder without its zeros, read it back and compare every bit. A folder "
    "that is compact already is turned back into the one that `from_pretrained` opens, byte for "
    "byte. Tensors that are not sparse stay as they are."
)
EXAMPLE = "autoprune compact pruned pruned-compact"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument(
        "places",
        nargs="*",
        metavar="MODEL OUT",
        help="folder of a saved model, or of a compact one, and the folder to write",
    )
    parser.add_argument("--model", metavar="MODEL", help="the same as MODEL")
    parser.add_argument("--out", metavar="OUT", help="the same as OUT")
    add_overwrite(parser, "a saved model that lies in OUT")
    parser.add_argument(
        "--encoding",
        choices=("bitmask", "csr"),
        help="a bit per weight (default), or rows and columns, smaller above about 94 %% zeros",
    )
