"""``autoprune verify``: train a verifier of reasoning steps, and score the steps of solutions."""

import argparse
from pathlib import Path
from typing import Any

from autoprune.models.loading import LoadedModel, load_model
from autoprune.models.reference import read_from
from autoprune.plain_text import shell_line
from autoprune.targets import check_folder
from autoprune.verify import Training, find_verifier, open_verifier, read_chains, train_verifier
from autoprune.verify.auroc import auroc
from flows.terminal.console import open_screen, report
from flows.terminal.output import emit, pairs


def run(args: argparse.Namespace, places: tuple[str, str]) -> int:
    """Train or score, and print the result."""
    model, file = places
    with open_screen(quiet=args.quiet):
        record, text = _train(args, model) if args.action == "train" else _score(args, model, file)
    emit(args, record, text)
    return 0


def _train(args: argparse.Namespace, model: str) -> tuple[dict[str, Any], str]:
    training = Training(args.chains, args.epochs, args.corrupted, args.seed)
    check_folder(Path(args.out), sources=[read_from(model)], allow=None)
    made = train_verifier(_loaded(args, model), training, report=report)
    made.save(Path(args.out))
    suite = f"steps:verifiers=surprisal+{args.out}"
    held = made.record["held_out"]
    text = pairs(
        ("saved", args.out),
        ("head", f"{made.record['parameters']:,} parameters, {made.record['reader']} unchanged"),
        ("trained", f"{made.record['training']['epochs_run']} epochs on {args.chains} solutions"),
        ("AUROC", f"{held['auroc']:.3f} on {held['steps']} steps held out, of the same templates"),
        ("next", shell_line("evaluate", model, "--suite", suite)),
    )
    return {**made.record, "folder": args.out}, text


def _score(args: argparse.Namespace, model: str, file: str) -> tuple[dict[str, Any], str]:
    chains = read_chains(Path(file).expanduser())
    find_verifier(args.verifier)
    verifier = open_verifier(args.verifier, _loaded(args, model))
    scores = verifier.score_chains(chains, report)
    found = [
        {"question": chain.question, "steps": list(chain.steps), "scores": own}
        for chain, own in zip(chains, scores, strict=True)
    ]
    labelled = [(c.right, own) for c, own in zip(chains, scores, strict=True) if c.right]
    right = [one for truth, _ in labelled for one in truth]
    record = {**verifier.describe(), "model": model, "solutions": found, "auroc": None}
    lines = []
    for chain, own in zip(chains, scores, strict=True):
        lines.append(chain.question)
        lines += [f"  {score:.3f}  {step}" for score, step in zip(own, chain.steps, strict=True)]
    if len(set(right)) == 2:
        record["auroc"] = auroc([s for _, own in labelled for s in own], right)
        lines += ["", f"AUROC {record['auroc']:.3f} over {len(right)} labelled steps"]
    return record, "\n".join(lines)


def _loaded(args: argparse.Namespace, model: str) -> LoadedModel:
    import torch

    return load_model(model, dtype=getattr(torch, args.dtype))
