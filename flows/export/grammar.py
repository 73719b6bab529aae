"""Grammar of ``autoprune export``."""

import argparse

from flows.export.params import ExportParams
from flows.terminal.options import add_options, given_with_model, settled

DESCRIPTION = """\
Write a dense or pruned model as a GGUF file and read every tensor back. If
xllamacpp is installed, also compare the results of llama.cpp and transformers.
The file appears only after it passes these checks.

With --push-to-hub, send the file to a hub, or the saved folder without --gguf.
Otherwise nothing is sent.
"""
EXAMPLE = "autoprune export pruned --gguf q8_0 --out pruned.gguf"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    add_options(parser, ExportParams)


def read(args: argparse.Namespace) -> ExportParams:
    """The parameters that were typed; they go together, and the model exists."""
    return settled(ExportParams, given_with_model(args, ExportParams))
