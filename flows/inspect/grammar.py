"""Grammar of ``autoprune inspect``."""

import argparse
from pathlib import Path

from autoprune.errors import UsageError
from flows.inspect.params import InspectParams
from flows.terminal.option_types import add_overwrite
from flows.terminal.options import MODEL, add_options, given_with_model, settled

DESCRIPTION = """\
Show skewness, kurtosis, outliers and spectrum of every prunable matrix, and how
much the loss rises when one matrix, one kind of matrix or one block alone is
pruned by Wanda's scores. The model does not change and the sealed text is not
read.
"""
EXAMPLE = "autoprune inspect ./my-model --corpus text.txt --layers all --out inspected"
JSON_FILE = "inspection.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    add_options(parser, InspectParams, required=MODEL)
    add_overwrite(parser, "an earlier inspection in that folder")


def read(args: argparse.Namespace) -> InspectParams:
    """The parameters that were typed; every name in them exists."""
    params = settled(InspectParams, given_with_model(args, InspectParams))
    out = None if params.out is None else Path(params.out).expanduser()
    if out is None:
        return params
    file = next((path for path in (out, *out.parents) if path.exists() and not path.is_dir()), None)
    if file is not None:
        raise UsageError(f"{file} is a file; name a folder with --out")
    if (out / JSON_FILE).exists() and not args.overwrite:
        raise UsageError(
            f"{out} holds an inspection; name another folder with --out, or add --overwrite"
        )
    return params
