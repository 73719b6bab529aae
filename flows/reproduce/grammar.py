"""Grammar of ``autoprune reproduce``."""

import argparse
from pathlib import Path
from typing import get_args

from autoprune.errors import UnknownNameError, UsageError
from autoprune.targets import check_folder
from flows import reproduce
from flows.params.fields import Dtype
from flows.params.named import check_device
from flows.terminal.option_types import add_overwrite
from tasks.state import State

DESCRIPTION = """\
Candidate: prune again from its MLflow record and compare the digest of the
masks. The search's own files are not needed.

Folder made by a scheme: follow its record and compare the weight files.

Model and text must be those of the record. Exit code 0: identical; 1: different,
or another model or text.
"""
EXAMPLE = "autoprune reproduce demo C7 --out pruned-c7"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument(
        "run_name", metavar="RUN|DIR", help="name of a search, or folder that a scheme made"
    )
    parser.add_argument(
        "candidate",
        metavar="CANDIDATE",
        nargs="?",
        help="measured candidate or baseline of the search, such as C7",
    )
    parser.add_argument(
        "--corpus",
        metavar="REF",
        help="calibration text of a folder whose record names a file (default: the record's)",
    )
    parser.add_argument("--out", metavar="DIR", help="folder for the pruned model (default: none)")
    add_overwrite(parser, "an existing saved model in DIR")
    parser.add_argument(
        "--dtype",
        choices=("auto", *get_args(get_args(Dtype)[0])),
        default="auto",
        help="type of a candidate's saved weights; auto: that of the checkpoint (default auto)",
    )


def read(args: argparse.Namespace) -> Path | None:
    """Return the folder to write, if any.

    Raises:
        UsageError: If it is not free, the folder to make again has no record of a scheme, or MLflow
            knows no search.
    """
    out = None if args.out is None else Path(args.out).expanduser()
    folder, state = Path(args.run_name).expanduser(), State.at()
    if args.candidate is None:
        # Read now what it was made with; its files are made again later.
        reproduce.request_of(folder, args.corpus, out or folder)
        if args.dtype != "auto":
            raise UsageError(
                f"--dtype {args.dtype}: the files of a folder are compared, so their type is that "
                "of the record; leave out --dtype"
            )
    elif args.corpus is not None:
        raise UsageError("a candidate's text is that of its search; leave out --corpus")
    elif not state.has_store:
        raise UnknownNameError(f"search in MLflow ({state.tracking_place})", args.run_name, ())
    if out is not None:
        sources = [folder] if args.candidate is None else []
        check_folder(out, sources=sources, overwrite=args.overwrite)
    check_device()
    return out
