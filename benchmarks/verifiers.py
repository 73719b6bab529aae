"""How well do verifiers find wrong steps? AUROC and PR-AUC on templates that no training saw.

A head is trained on labelled solutions, and another on the same solutions with their labels
shuffled, which must find nothing. What the reader makes of the solutions is kept in
``benchmarks/out/verifiers`` by digest, so that a benchmark that was cut off goes on there.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from random import Random
from typing import Any

import torch

from autoprune.digest import digest_json
from autoprune.models.loading import LoadedModel, load_model
from autoprune.models.reference import DEMO_MODEL
from autoprune.storage import atomic_file
from autoprune.verify import Chain, Training, draw_chains, open_verifier
from autoprune.verify.auroc import auroc, auroc_interval, average_precision
from autoprune.verify.reading import DEPTHS, ReadStep, read_steps, reader_digest
from autoprune.verify.training import train_on
from autoprune.verify.uhead import head_scores
from benchmarks.evidence.records import SCORES
from benchmarks.evidence.writing import write_record
from benchmarks.measured import OUT
from benchmarks.table import Goal, publish

NAME = "verifiers"
GOAL = 0.70
# PR-AUC of wrong steps above their share, which scores that say nothing reach.
GAIN = 0.10
# Solutions that are read and kept together.
PIECE = 25


def main() -> None:
    """Read, train, judge, publish, and write the record where one is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default=DEMO_MODEL, help="the reader")
    parser.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float32"))
    parser.add_argument("--chains", type=int, default=600, help="solutions to train on")
    parser.add_argument("--test", type=int, default=200, help="solutions to judge")
    parser.add_argument(
        "--first", type=int, nargs=2, metavar=("TRAIN", "TEST"),
        help="of both only the first so many, for a machine with little time",
    )  # fmt: skip
    parser.add_argument("--corrupted", type=float, default=0.35, help="share of wrong steps")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--record", type=Path, help="folder for the raw record")
    args = parser.parse_args()
    training = Training(args.chains, args.epochs, args.corrupted, args.seed)
    reader = load_model(args.model, dtype=getattr(torch, args.dtype))
    digest = reader_digest(reader)
    taught = draw_chains(args.chains, args.seed, corrupted=args.corrupted)
    tested = draw_chains(args.test, args.seed, part="test", corrupted=args.corrupted)
    if args.first:
        taught, tested = taught[: args.first[0]], tested[: args.first[1]]
    read = [_read(reader, digest, chains) for chains in (taught, tested)]
    right = [list(chain.right) for chain in tested]
    scores = {"programmatic": open_verifier("programmatic", reader).score_chains(tested)}
    scores["surprisal"] = [[float(s.surprise.mean().exp()) for s in one] for one in read[1]]
    heads = {}
    for name, labelled in (("uhead", taught), ("shuffled labels", _shuffled(taught, args.seed))):
        made = heads[name] = train_on(reader, labelled, read[0], training)
        found = iter(head_scores(made.head, [step.features for one in read[1] for step in one]))
        scores[name] = [[next(found) for _ in one] for one in read[1]]
    if reader_digest(reader) != digest:
        raise SystemExit("the reader has changed, and must not")
    rows = [_row(name, own, right, args.seed) for name, own in scores.items()]
    title = (
        f"Wrong steps found in {len(tested)} solutions of other templates "
        f"({sum(map(len, right))} steps), read by {reader.source.ref.rpartition('/')[2]} "
        f"in {args.dtype}"
    )
    wrong = 1 - sum(map(sum, right)) / sum(map(len, right))
    goals = [
        Goal("1 - AUROC of uhead", 1 - rows[2]["AUROC"], 1 - GOAL),
        Goal("1 - PR-AUC of uhead", 1 - rows[2]["PR-AUC"], 1 - wrong - GAIN),
    ]
    trained = {name: made.record for name, made in heads.items()}
    publish(NAME, title, rows, goals, heads=trained, right=right, scores=scores)
    if args.record:
        _write(args.record, right, scores, trained, tested)


def _read(reader: LoadedModel, digest: str, chains: Sequence[Chain]) -> list[list[ReadStep]]:
    """The steps of all solutions as the reader sees them, piece by piece from file or anew."""
    found: list[list[ReadStep]] = []
    for start in range(0, len(chains), PIECE):
        some = chains[start : start + PIECE]
        key = digest_json([digest, list(DEPTHS), [asdict(chain) for chain in some]])
        file = OUT / NAME / f"{key}.pt"
        if not file.is_file():
            features = [[s.features for s in one] for one in read_steps(reader, some)]
            with atomic_file(file) as place:
                torch.save(features, place)
        kept = torch.load(file, weights_only=True)
        found += [[ReadStep(part[:, 0], part) for part in one] for one in kept]
        print(f"read {len(found)} of {len(chains)}", file=sys.stderr, flush=True)
    return found


def _shuffled(chains: Sequence[Chain], seed: int) -> list[Chain]:
    """The same solutions with the labels of all steps shuffled among them."""
    labels = [one for chain in chains for one in chain.right]
    Random(f"labels {seed}").shuffle(labels)
    drawn = iter(labels)
    return [replace(chain, right=tuple(next(drawn) for _ in chain.right)) for chain in chains]


def _row(
    name: str, scores: list[list[float]], right: list[list[bool]], seed: int
) -> dict[str, Any]:
    flat = [score for one in scores for score in one]
    truth = [one for steps in right for one in steps]
    interval = auroc_interval(scores, right, seed=seed)
    return {
        "verifier": name,
        "AUROC": auroc(flat, truth),
        "95 % over solutions": "none" if interval is None else "[{:.3f}, {:.3f}]".format(*interval),
        "PR-AUC": average_precision(flat, truth),
    }


def _write(
    folder: Path,
    right: list[list[bool]],
    scores: dict[str, list[list[float]]],
    heads: dict[str, Any],
    chains: Sequence[Chain],
) -> None:
    """``record.json`` and ``scores.json``: labels, texts and every score."""
    solutions = [{"question": chain.question, "steps": list(chain.steps)} for chain in chains]
    write_record(
        folder,
        SCORES,
        f"python -m benchmarks verifiers --record evidence/{folder.name}",
        ("scores.json", {"right": right, "scores": scores, "solutions": solutions}),
        heads={name: {**one, "reader": Path(one["reader"]).name} for name, one in heads.items()},
    )


if __name__ == "__main__":
    main()
