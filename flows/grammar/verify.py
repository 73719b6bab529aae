"""Grammar of ``autoprune verify``."""

import argparse
from copy import copy

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
    train.add_argument("model", metavar="MODEL", help=MODEL)
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
    score.add_argument("model", metavar="MODEL", help=MODEL)
    score.add_argument(
        "file", metavar="FILE.jsonl", help='one {"question": TEXT, "steps": [TEXT, ...]} per line'
    )
    score.add_argument(
        "--verifier", required=True, metavar="DIR|NAME",
        help="folder of a trained verifier, or programmatic or surprisal",
    )  # fmt: skip
    for action in (train, score):
        _share_options(parser, action)


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
