"""Grammar of ``autoprune export``."""

import argparse
from pathlib import Path

from autoprune.errors import UsageError
from flows.params.named import check_models
from flows.terminal.option_types import add_overwrite
from flows.terminal.options import model_of

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
    parser.add_argument(
        "model_word",
        nargs="?",
        metavar="MODEL",
        default=argparse.SUPPRESS,
        help="dense or pruned model: folder, hub id, .gguf file or package:module/file.gguf",
    )
    parser.add_argument(
        "--model", metavar="MODEL", default=argparse.SUPPRESS, help="the same as MODEL"
    )
    parser.add_argument(
        "--gguf",
        metavar="TYPE",
        help="f32, f16, bf16, q8_0, q5_1, q5_0, q4_1, q4_0; with llama.cpp's own code q6_k, "
        "q5_k_m, q4_k_m, q3_k_m",
    )
    parser.add_argument("--out", metavar="FILE", help=".gguf file to write")
    add_overwrite(parser, "an existing file")
    parser.add_argument(
        "--no-compute",
        action="store_true",
        help="only read the file back, for a model that does not fit in memory in float32",
    )
    parser.add_argument(
        "--push-to-hub",
        metavar="OWNER/NAME",
        help="send the result to this repository, created if it does not exist",
    )
    parser.add_argument(
        "--private",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="create a missing repository as private (the default), or public with --no-private",
    )


def read(args: argparse.Namespace) -> Path | None:
    """Return the saved folder to send unchanged; None if a file is written first.

    Raises:
        UsageError: If the model or an option is missing or of no use, there is no such model, or
            what is sent as it is is not a saved folder.
    """
    args.model = model_of(args)
    if not (args.gguf or args.push_to_hub):
        raise UsageError(
            "nothing to do: give --gguf TYPE --out FILE, or --push-to-hub OWNER/NAME, or both"
        )
    if bool(args.gguf) != bool(args.out):
        raise UsageError("--gguf TYPE and --out FILE go together: the type and the file to write")
    given = [("--overwrite", args.overwrite), ("--no-compute", args.no_compute)]
    idle = [option for option, wanted in given if wanted]
    if idle and not args.gguf:
        raise UsageError(
            "nothing is written without --gguf TYPE --out FILE: add these, or leave out "
            f"{' and '.join(idle)}"
        )
    check_models(args.model)
    if args.gguf:
        return None
    folder = Path(args.model).expanduser()
    if not (folder / "config.json").is_file():
        raise UsageError(
            f"{args.model!r} is no folder of a saved model, and only one is sent as it is; prune "
            "it first, or add --gguf TYPE --out FILE"
        )
    return folder
