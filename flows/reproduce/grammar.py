"""Grammar of ``autoprune reproduce``."""

import argparse

from autoprune.errors import UnknownNameError, UsageError
from autoprune.targets import check_folder
from flows import reproduce
from flows.params.named import check_device
from flows.reproduce.params import ReproduceParams
from flows.terminal.options import add_options, given, settled
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
    add_options(parser, ReproduceParams)


def read(args: argparse.Namespace) -> ReproduceParams:
    """The parameters that were typed; what is made again is on record."""
    params, state = settled(ReproduceParams, given(args, ReproduceParams)), State.at()
    folder, out = params.folder, params.target
    if params.candidate is None:
        # Read now what it was made with; its files are made again later.
        reproduce.request_of(folder, params.corpus, out or folder)
        if params.dtype != "auto":
            raise UsageError(
                f"--dtype {params.dtype}: the files of a folder are compared, so their type is "
                "that of the record; leave out --dtype"
            )
    elif params.corpus is not None:
        raise UsageError("a candidate's text is that of its search; leave out --corpus")
    elif not state.has_store:
        raise UnknownNameError(f"search in MLflow ({state.tracking_place})", params.run, ())
    if out is not None:
        sources = [folder] if params.candidate is None else []
        check_folder(out, sources=sources, overwrite=params.overwrite)
    check_device()
    return params
