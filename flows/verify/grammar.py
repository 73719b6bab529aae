"""Grammar of ``autoprune verify``."""

import argparse
from copy import copy
from typing import get_args

from autoprune.errors import UsageError
from flows.params.fields import Dtype
from flows.terminal.option_types import positive_number

DESCRIPTION = """\
train: train a small head to tell right steps from wrong ones by the features
of a frozen model, on worked solutions made from templates.

score: score each step of each solution in a .jsonl file of questions and steps,
from 0 (wrong) to 1 (right), with the AUROC if the file says which steps are
right.
"""
EXAMPLE = "autoprune verify train my-model --out verifier"
EXAMPLE_OF_SCORE = "autoprune verify score my-model --verifier verifier solutions.jsonl"
MODEL = "model that reads: hub id, folder, .gguf file or package:module/file.gguf"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of both actions."""
    parser.set_defaults(seed=0)
    actions = parser.add_subparsers(dest="action", metavar="train|score", required=True)
    train = _add_action(actions, "train", "train a head", EXAMPLE)
    _add_word(train, "model_word", "MODEL", MODEL)
    train.add_argument(
        "--out", required=True, metavar="DIR", help="folder to write; must be absent or empty"
    )
    train.add_argument(
        "--chains", type=positive_number, default=600, metavar="N",
        help="solutions to train on (default 600)",
    )  # fmt: skip
    train.add_argument(
        "--epochs", type=positive_number, default=30, metavar="N",
        help="maximum passes over them (default 30)",
    )  # fmt: skip
    train.add_argument(
        "--corrupted", type=float, default=0.35, metavar="S",
        help="share of wrong steps (default 0.35)",
    )  # fmt: skip
    score = _add_action(actions, "score", "score steps", EXAMPLE_OF_SCORE)
    _add_word(score, "model_word", "MODEL", MODEL)
    _add_word(score, "file", "FILE.jsonl", 'one {"question": TEXT, "steps": [TEXT, ...]} per line')
    score.add_argument(
        "--verifier", required=True, metavar="DIR|NAME",
        help="folder of a trained verifier, or programmatic or surprisal",
    )  # fmt: skip
    for action in (train, score):
        action.add_argument(
            "--dtype", choices=get_args(get_args(Dtype)[0]), default="float32",
            help="type of the weights in memory (default float32)",
        )  # fmt: skip
        action.add_argument("--model", metavar="MODEL", help="the same as MODEL")
        _share_options(parser, action)


def read(args: argparse.Namespace) -> tuple[str, str]:
    """The model, as a word or an option, and the file of solutions; empty for ``train``.

    Raises:
        UsageError: If one of them is missing, or the model is given twice.
    """
    words = [word for word in (args.model_word, getattr(args, "file", None)) if word is not None]
    line = f"autoprune verify {args.action} MODEL{' FILE.jsonl' * (args.action == 'score')}"
    model = args.model if args.model is not None or not words else words.pop(0)
    file = words.pop(0) if args.action == "score" and words else ""
    if words:
        raise UsageError(
            f"the model is given twice, {args.model_word!r} and {model!r}; write `{line}`"
        )
    if model is None or (args.action == "score" and not file):
        raise UsageError(f"the {'model' if model is None else 'file'} is missing; write `{line}`")
    return model, file


def _add_word(action: argparse.ArgumentParser, dest: str, metavar: str, text: str) -> None:
    # With nargs="?", a word behind an option would not be found.
    action.add_argument(dest, metavar=metavar, help=text).required = False


def _add_action(
    actions: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, does: str, line: str
) -> argparse.ArgumentParser:
    return actions.add_parser(
        name,
        help=does,
        epilog=f"example:\n  {line}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def _share_options(parser: argparse.ArgumentParser, action: argparse.ArgumentParser) -> None:
    """Let the options of every command also stand behind the action."""
    for known in parser._actions:
        if known.option_strings and known.dest != "help":
            twin = copy(known)
            # What was given before the action stays where nothing is given behind it.
            twin.default = argparse.SUPPRESS
            action._add_action(twin)
