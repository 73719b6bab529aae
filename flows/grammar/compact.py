"""Grammar of ``autoprune compact``."""

import argparse

from flows.terminal.option_types import add_overwrite

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
    parser.add_argument("--model", metavar="MODEL", help="the same as MODEL")
    parser.add_argument("--out", metavar="OUT", help="the same as OUT")
    add_overwrite(parser, "an existing saved model in OUT")
    parser.add_argument(
        "--encoding",
        choices=("bitmask", "csr"),
        help="bitmask: one bit per weight (default); csr: rows and columns, smaller above about "
        "94 %% zeros",
    )
