"""Grammar of ``autoprune verify``."""

import argparse
from copy import copy

from autoprune.errors import UsageError
from flows.terminal.options import add_late_word, add_options, given, settled
from flows.verify.params import ScoreParams, TrainParams

DESCRIPTION = """\
train: train a small head to tell right steps from wrong ones by the features
of a frozen model, on worked solutions made from templates.

score: score each step of each solution in a .jsonl file of questions and steps,
from 0 (wrong) to 1 (right), with the AUROC if the file says which steps are
right.
"""
EXAMPLE = "autoprune verify train my-model --out verifier"
EXAMPLE_OF_SCORE = "autoprune verify score my-model --verifier verifier solutions.jsonl"
ACTIONS: dict[str, tuple[type[TrainParams | ScoreParams], str, str]] = {
    "train": (TrainParams, "train a head", EXAMPLE),
    "score": (ScoreParams, "score steps", EXAMPLE_OF_SCORE),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of both actions."""
    actions = parser.add_subparsers(dest="action", metavar="train|score", required=True)
    for name, (kind, does, example) in ACTIONS.items():
        action = _add_action(actions, name, does, example)
        for word in ("model", "file"):
            if word in kind.model_fields:
                add_late_word(action, f"{word}_typed", kind.model_fields[word])
        add_options(action, kind, words=("file",), also_words=("model",))
        _share_options(parser, action)


def read(args: argparse.Namespace) -> TrainParams | ScoreParams:
    """The parameters that were typed; model and file are words, or the model is an option."""
    kind, _, _ = ACTIONS[args.action]
    found = (args.model_typed, getattr(args, "file_typed", None))
    words = [word for word in found if word is not None]
    line = f"autoprune verify {args.action} MODEL{' FILE.jsonl' * (args.action == 'score')}"
    typed = given(args, kind)
    model = typed.get("model") or (words.pop(0) if words else None)
    file = words.pop(0) if args.action == "score" and words else ""
    if words:
        raise UsageError(
            f"the model is given twice, {args.model_typed!r} and {model!r}; write `{line}`"
        )
    if model is None or (args.action == "score" and not file):
        raise UsageError(f"the {'model' if model is None else 'file'} is missing; write `{line}`")
    return settled(kind, typed | {"model": model} | ({"file": file} if file else {}))


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
