"""``autoprune verify``: train a verifier of reasoning steps, and score the steps of solutions."""

import argparse
from copy import copy
from typing import Any

from flows.terminal.option_types import positive_number
from flows.terminal.output import emit, pairs

NAME = "verify"
HELP = "train a verifier of reasoning steps, or score the steps of solutions with one"
DESCRIPTION = (
    "train: teach a small head to tell right steps from wrong ones by what a frozen model makes of "
    "them, on worked solutions made from templates. score: one number from 0 (wrong) to 1 (right) "
    "for each step of each solution in a .jsonl file of question and steps, with the AUROC where "
    "the file says which steps are right."
)
EXAMPLE = "autoprune verify train my-model --out verifier"
MODEL = "the reader: a hub id, folder, .gguf file or package:module/file"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of both actions."""
    actions = parser.add_subparsers(dest="action", metavar="train|score", required=True)
    train = actions.add_parser("train", help="train a head", allow_abbrev=False)
    train.add_argument("model", metavar="MODEL", help=MODEL)
    train.add_argument(
        "--out", required=True, metavar="DIR", help="folder to write; absent or empty"
    )
    train.add_argument(
        "--chains", type=positive_number, default=600, help="solutions to train on (default 600)"
    )
    train.add_argument(
        "--epochs", type=positive_number, default=30, help="most passes over them (default 30)"
    )
    train.add_argument(
        "--corrupted", type=float, default=0.35, help="share of wrong steps (default 0.35)"
    )
    score = actions.add_parser("score", help="score steps", allow_abbrev=False)
    score.add_argument("model", metavar="MODEL", help=MODEL)
    score.add_argument(
        "file", metavar="FILE.jsonl", help='{"question": TEXT, "steps": [TEXT, ...]} a line'
    )
    score.add_argument(
        "--verifier", required=True, metavar="DIR|NAME",
        help="folder of a trained one, or programmatic or surprisal",
    )  # fmt: skip
    for action in (train, score):
        _share_options(parser, action)


def _share_options(parser: argparse.ArgumentParser, action: argparse.ArgumentParser) -> None:
    """Let the options of every command also stand behind the action."""
    for known in parser._actions:
        if known.option_strings and known.dest != "help":
            twin = copy(known)
            # What was given before the action stays where nothing is given behind it.
            twin.default = argparse.SUPPRESS
            action._add_action(twin)


def run(args: argparse.Namespace) -> int:
    """Train or score, and print what came out."""
    from flows.terminal.console import open_screen

    with open_screen(quiet=args.quiet):
        record, text = _train(args) if args.action == "train" else _score(args)
    emit(args, record, text)
    return 0


def _train(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from pathlib import Path

    from autoprune.models.loading import load_model
    from autoprune.models.reference import read_from
    from autoprune.targets import check_folder
    from autoprune.verify import Training, train_verifier
    from flows.terminal.console import report

    training = Training(args.chains, args.epochs, args.corrupted, args.seed)
    check_folder(Path(args.out), sources=[read_from(args.model)])
    made = train_verifier(load_model(args.model), training, report=report)
    made.save(Path(args.out))
    held = made.record["held_out"]
    text = pairs(
        ("saved", args.out),
        ("head", f"{made.record['parameters']:,} parameters, {made.record['reader']} unchanged"),
        ("trained", f"{made.record['training']['epochs_run']} epochs on {args.chains} solutions"),
        ("AUROC", f"{held['auroc']:.3f} on {held['steps']} steps held out, of the same templates"),
        ("next", f"autoprune evaluate {args.model} --suite steps:verifiers=surprisal+{args.out}"),
    )
    return {**made.record, "folder": args.out}, text


def _score(args: argparse.Namespace) -> tuple[dict[str, Any], str]:
    from pathlib import Path

    from autoprune.models.loading import load_model
    from autoprune.verify import find_verifier, open_verifier, read_chains
    from autoprune.verify.auroc import auroc
    from flows.terminal.console import report

    chains = read_chains(Path(args.file).expanduser())
    find_verifier(args.verifier)
    verifier = open_verifier(args.verifier, load_model(args.model))
    scores = verifier.score_chains(chains, report)
    found = [
        {"question": chain.question, "steps": list(chain.steps), "scores": own}
        for chain, own in zip(chains, scores, strict=True)
    ]
    labelled = [(c.right, own) for c, own in zip(chains, scores, strict=True) if c.right]
    right = [one for truth, _ in labelled for one in truth]
    record = {**verifier.describe(), "model": args.model, "solutions": found, "auroc": None}
    lines = []
    for chain, own in zip(chains, scores, strict=True):
        lines.append(chain.question)
        lines += [f"  {score:.3f}  {step}" for score, step in zip(own, chain.steps, strict=True)]
    if len(set(right)) == 2:
        record["auroc"] = auroc([s for _, own in labelled for s in own], right)
        lines += ["", f"AUROC {record['auroc']:.3f} over {len(right)} labelled steps"]
    return record, "\n".join(lines)
