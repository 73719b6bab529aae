"""What a model gains from having seen a question: accuracy on seen and on fresh dated items.

Problems of the same templates get dates at random; those up to the cutoff are the *seen* ones. One
model reads the worked solutions of the seen ones, and another, for comparison, those of other
problems. Both, and the dense model, then answer all: since nothing but this text tells seen from
fresh, a slope of accuracy over time is what having seen them is worth. A model reads in one of two
ways: it is pruned and recovered on the text (`recover`), which teaches it the dense model's
predictions for it, or trained to predict the text itself (`train`), as a model that was
contaminated.
"""

import argparse
import json
import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import torch

from autoprune import prune
from autoprune.evaluation.suites.live import FRESH, SEEN, SLOPE, LiveSuite
from autoprune.evaluation.suites.rows import Row
from autoprune.models.loading import LoadedModel, load_model
from autoprune.models.reference import DEMO_MODEL
from autoprune.pruning.products import products_of
from autoprune.recipe import Recipe
from autoprune.repair import Repair
from autoprune.text.beginning import text_ids
from autoprune.verify import Chain, draw_chains
from benchmarks import measured
from benchmarks.evidence.records import COUNTS
from benchmarks.evidence.writing import write_record
from benchmarks.rows import counted, row_text
from benchmarks.table import publish

NAME = "seen_items"
COMMAND = f"python -m benchmarks {NAME}"
FIRST, CUTOFF, LAST = date(2023, 1, 1), date(2023, 12, 31), date(2024, 12, 31)


@dataclass(frozen=True)
class Problem:
    """A dated problem.

    Args:
        id: Its name.
        day: When it became public.
        chain: Question and worked solution.
    """

    id: str
    day: date
    chain: Chain

    @property
    def answer(self) -> str:
        """What the last line says."""
        return self.chain.steps[-1].rpartition(" ")[2]

    @property
    def text(self) -> str:
        """Question and solution, the answer in a box as the suite asks for it."""
        *steps, _ = self.chain.steps
        lines = "\n".join(steps)
        return (
            f"Problem: {self.chain.question}\n\nSolution: {lines}\n"
            f"The answer is \\boxed{{{self.answer}}}."
        )


def main() -> None:
    """Make the problems, recover, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default=DEMO_MODEL)
    parser.add_argument("--way", choices=("recover", "train"), default="train")
    parser.add_argument("--recipe", default="wanda+recover", help="with --way recover")
    parser.add_argument("--sparsity", type=float, default=0.5)
    parser.add_argument("--items", type=int, default=200, help="seen and fresh ones together")
    parser.add_argument("--calibration-windows", type=int, default=16)
    parser.add_argument("--seqlen", type=int, default=256, help="tokens in a window")
    parser.add_argument("--epochs", type=int, default=6, help="with --way train")
    parser.add_argument("--rate", type=float, default=5e-5, help="with --way train")
    parser.add_argument("--new-tokens", type=int, default=160, help="longest reply")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--record", type=Path, help="folder to keep the counts in, as evidence")
    args = parser.parse_args()
    folder = measured.OUT / NAME
    folder.mkdir(parents=True, exist_ok=True)
    items, others = draw_problems(args.items, args.seed)
    file = folder / "items.jsonl"
    _write_lines(file, [_row(problem) for problem in items])
    how = "recovered" if args.way == "recover" else "trained"
    texts = {
        "dense": None,
        f"{how} on other items": others,
        f"{how} on the seen items": [one for one in items if one.day <= CUTOFF],
    }
    suite = LiveSuite(str(file), CUTOFF.isoformat(), new_tokens=args.new_tokens, seed=args.seed)
    found: dict[str, dict[str, Row]] = {}
    for name, problems in texts.items():
        loaded = load_model(args.model)
        if problems is not None:
            read = _recover if args.way == "recover" else _train
            read(loaded, problems, folder / "text.jsonl", args)
        found[name] = {row.name: row for row in suite.run(loaded)}
    by = f"recovery by {args.recipe} at {args.sparsity:.0%}"
    if args.way == "train":
        by = f"training, {args.epochs} epochs at {args.rate:g}"
    title = (
        f"{args.items} problems of the same templates, half of them seen by "
        f"{args.model.rpartition('/')[2]} in {by}"
    )
    counts = {name: counted(rows) for name, rows in found.items()}
    publish(NAME, title, [_line(name, rows) for name, rows in found.items()], counts=counts)
    if args.record:
        data = ("counts.json", counts)
        more = {"recipe": args.recipe} if args.way == "recover" else {"epochs": args.epochs}
        write_record(args.record, COUNTS, COMMAND, data, ("--model",), way=args.way, **more)


def draw_problems(count: int, seed: int) -> tuple[list[Problem], list[Problem]]:
    """Dated problems, half of them up to the cutoff, and as many others as those; all different.

    Args:
        count: How many dated ones.
        seed: Of problems and dates; the same everywhere.
    """
    half = count // 2
    wanted = count + half
    # Small numbers repeat; twice as many leave enough that differ.
    drawn = {c.question: c for c in draw_chains(2 * wanted + 20, seed, corrupted=0.0)}
    chains = list(drawn.values())[:wanted]
    if len(chains) < wanted:
        raise SystemExit(f"the templates give {len(drawn)} different problems; ask for fewer items")
    rng = random.Random(seed)
    problems = []
    for number, chain in enumerate(chains):
        start, end = (FIRST, CUTOFF) if number < half else (CUTOFF + timedelta(1), LAST)
        day = start + timedelta(rng.randrange((end - start).days + 1))
        problems.append(Problem(str(number), day, chain))
    return problems[:count], problems[count:]


def _recover(
    loaded: LoadedModel, problems: Sequence[Problem], file: Path, args: argparse.Namespace
) -> None:
    """Prune the model in place; all text that it reads are these problems, as often as needed."""
    windows: int = args.calibration_windows
    fresh = Repair.parse(Recipe.parse(args.recipe).repair).fresh_windows
    # A window more, since documents are cut where one ends.
    wanted = (windows + fresh + 1) * args.seqlen
    rng = random.Random(args.seed)
    texts: list[str] = []
    tokens = 0
    while tokens < wanted:
        for problem in rng.sample(problems, len(problems)):
            texts.append(problem.text)
            tokens += len(text_ids(loaded.tokenizer, problem.text))
    _write_lines(file, [{"text": text} for text in texts])
    prune(
        loaded,
        args.recipe,
        args.sparsity,
        corpus=file,
        calibration_windows=windows,
        seqlen=args.seqlen,
        seed=args.seed,
    )


def _train(
    loaded: LoadedModel, problems: Sequence[Problem], file: Path, args: argparse.Namespace
) -> None:
    """Train all weights to predict these problems and their solutions, one after the other."""
    _write_lines(file, [{"text": problem.text} for problem in problems])
    model, rng = loaded.model, random.Random(args.seed)
    end = [] if loaded.tokenizer.eos_token_id is None else [loaded.tokenizer.eos_token_id]
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.rate, fused=True)
    for epoch in range(args.epochs):
        total = 0.0
        for problem in rng.sample(problems, len(problems)):
            ids = torch.tensor([text_ids(loaded.tokenizer, problem.text) + end])
            with torch.enable_grad(), products_of(model.device, model.dtype):
                loss = model(input_ids=ids.to(model.device), labels=ids.to(model.device)).loss
                loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            total += loss.item()
        print(f"epoch {epoch + 1}: loss {total / len(problems):.3f}", file=sys.stderr, flush=True)


def _row(problem: Problem) -> dict[str, str]:
    return {
        "id": problem.id,
        "date": problem.day.isoformat(),
        "question": problem.chain.question,
        "answer": problem.answer,
    }


def _write_lines(file: Path, rows: Sequence[Mapping[str, str]]) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _line(name: str, rows: Mapping[str, Row]) -> dict[str, Any]:
    return {
        "model": name,
        "seen": row_text(rows[SEEN], 100, " %"),
        "fresh": row_text(rows[FRESH], 100, " %"),
        "slope in points a year": row_text(rows[SLOPE], 100),
    }


if __name__ == "__main__":
    main()
