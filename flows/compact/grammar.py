"""Grammar of ``autoprune compact``."""

import argparse
from pathlib import Path

from autoprune.errors import UsageError
from autoprune.targets import check_folder
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


def read(args: argparse.Namespace) -> tuple[Path, Path]:
    """Return model and target, each given as a word or an option.

    Raises:
        UsageError: If one is missing, the model is no folder, or the target is not free.
    """
    words = list(args.places)
    found = [words.pop(0) if given is None and words else given for given in (args.model, args.out)]
    if words or None in found:
        wrong = f"{words[0]!r} is one folder too many" if words else "a folder is missing"
        raise UsageError(f"{wrong}; write `autoprune compact MODEL OUT`")
    source, out = (Path(str(place)).expanduser() for place in found)
    if not source.is_dir():
        raise UsageError(
            f"{str(source)!r} is no folder; give one that `autoprune prune --out` or "
            "`save_pretrained` wrote (a GGUF or hub model is pruned first)"
        )
    check_folder(out, sources=[source], overwrite=args.overwrite)
    return source, out
