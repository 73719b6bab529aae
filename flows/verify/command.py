"""``autoprune verify``: train a verifier of reasoning steps, and score the steps of solutions."""

import argparse
from pathlib import Path
from typing import Any

from autoprune.models.loading import LoadedModel, load_model
from autoprune.models.reference import read_from
from autoprune.plain_text import shell_line
from autoprune.targets import check_folder
from autoprune.verify import Training, open_verifier, read_chains, ready_verifier, train_verifier
from autoprune.verify.auroc import auroc
from flows.terminal.console import open_screen, report
from flows.terminal.output import emit, pairs
from flows.verify.params import ScoreParams, TrainParams, VerifyParams


def run(args: argparse.Namespace, params: TrainParams | ScoreParams) -> int:
    """Train or score, and print the result."""
    with open_screen(quiet=args.quiet):
        found = _train(params) if isinstance(params, TrainParams) else _score(params)
    record, text = found
    emit(args, record, text)
    return 0


def _train(params: TrainParams) -> tuple[dict[str, Any], str]:
    training = Training(params.chains, params.epochs, params.corrupted, params.seed)
    check_folder(Path(params.out), sources=[read_from(params.model)], allow=None)
    made = train_verifier(_loaded(params), training, report=report)
    made.save(Path(params.out))
    suite = f"steps:verifiers=surprisal+{params.out}"
    held = made.record["held_out"]
    text = pairs(
        ("saved", params.out),
        ("head", f"{made.record['parameters']:,} parameters, {made.record['reader']} unchanged"),
        ("trained", f"{made.record['training']['epochs_run']} epochs on {params.chains} solutions"),
        ("AUROC", f"{held['auroc']:.3f} on {held['steps']} steps held out, of the same templates"),
        ("next", shell_line("evaluate", params.model, "--suite", suite)),
    )
    return {**made.record, "folder": params.out}, text


def _score(params: ScoreParams) -> tuple[dict[str, Any], str]:
    chains = read_chains(Path(params.file).expanduser())
    ready_verifier(params.verifier)
    verifier = open_verifier(params.verifier, _loaded(params))
    scores = verifier.score_chains(chains, report)
    found = [
        {"question": chain.question, "steps": list(chain.steps), "scores": own}
        for chain, own in zip(chains, scores, strict=True)
    ]
    labelled = [(c.right, own) for c, own in zip(chains, scores, strict=True) if c.right]
    right = [one for truth, _ in labelled for one in truth]
    record = {**verifier.describe(), "model": params.model, "solutions": found, "auroc": None}
    lines = []
    for chain, own in zip(chains, scores, strict=True):
        lines.append(chain.question)
        lines += [f"  {score:.3f}  {step}" for score, step in zip(own, chain.steps, strict=True)]
    if len(set(right)) == 2:
        record["auroc"] = auroc([s for _, own in labelled for s in own], right)
        lines += ["", f"AUROC {record['auroc']:.3f} over {len(right)} labelled steps"]
    return record, "\n".join(lines)


def _loaded(params: VerifyParams) -> LoadedModel:
    import torch

    return load_model(params.model, dtype=getattr(torch, params.dtype))
