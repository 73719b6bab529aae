"""Best of several replies by each verifier, against a reply picked at random.

A model answers templated problems several times over, and every verifier chooses among the same
replies. The head is trained on labelled solutions of other templates, read by the same model.
Replies are kept in ``benchmarks/out/best_of``, so that a benchmark that was cut off goes on there.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from autoprune.digest import digest_json
from autoprune.evaluation.suites.cleaning import NO_RESOURCES
from autoprune.evaluation.suites.reasoning import (
    ACCURACY,
    GAIN,
    RANDOM_PICK,
    SAMPLING,
    VERSION,
    ReasoningSuite,
)
from autoprune.evaluation.suites.rows import Row
from autoprune.models.loading import load_model
from autoprune.models.reference import DEMO_MODEL
from autoprune.numerics import computed_by
from autoprune.progress import Progress
from autoprune.storage import write_json
from autoprune.verify import Training, train_verifier
from autoprune.verify.reading import reader_digest
from benchmarks import measured
from benchmarks.evidence.records import COUNTS
from benchmarks.evidence.writing import write_record
from benchmarks.rows import counted, row_text
from benchmarks.table import publish

NAME = "best_of"
COMMAND = f"python -m benchmarks {NAME}"


def main() -> None:
    """Train the head, draw the replies once, let every verifier choose, publish."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default=DEMO_MODEL, help="answers, and reads for the verifiers")
    parser.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float32"))
    parser.add_argument("--generators", nargs="+", default=["chain", "story"])
    parser.add_argument("--items", type=int, default=50, help="of each generator")
    parser.add_argument("--best-of", type=int, default=8, help="replies to each problem")
    parser.add_argument("--new-tokens", type=int, default=64, help="longest reply")
    parser.add_argument("--chains", type=int, default=600, help="solutions to train the head on")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--record", type=Path, help="folder to keep the counts in, as evidence")
    args = parser.parse_args()
    loaded = load_model(args.model, dtype=getattr(torch, args.dtype))
    drawn: dict[str, list[Any]] = {}
    asked = [args.items, args.best_of, args.new_tokens, args.seed, reader_digest(loaded)]
    asked += [VERSION, SAMPLING, str(loaded.model.device), computed_by()]
    resources = replace(NO_RESOURCES, keep=_keep_in(drawn, asked))
    found: dict[str, dict[str, Row]] = {}
    with tempfile.TemporaryDirectory() as folder:
        train_verifier(loaded, Training(chains=args.chains, seed=args.seed)).save(Path(folder))
        for name, verifier in (
            ("uhead", folder),
            ("surprisal", "surprisal"),
            ("programmatic", "programmatic"),
        ):
            suite = ReasoningSuite(
                generators=tuple(args.generators), items=args.items, seed=args.seed,
                new_tokens=args.new_tokens, best_of=args.best_of, verifier=verifier,
            )  # fmt: skip
            # The last row of a metric is that over all generators.
            rows = suite.run(loaded, report=_say, resources=resources)
            found[name] = {row.metric: row for row in rows}
    title = (
        f"Best of {args.best_of} replies of {args.model.rpartition('/')[2]} in {args.dtype} to "
        f"{args.items * len(args.generators)} problems ({', '.join(args.generators)})"
    )
    counts = {name: counted(rows, 100) for name, rows in found.items()}
    publish(NAME, title, [_line(name, rows) for name, rows in found.items()], counts=counts)
    if args.record:
        data = ("counts.json", {**counts, "replies": drawn})
        write_record(args.record, COUNTS, COMMAND, data, ("--model",))


def _keep_in(
    drawn: dict[str, list[Any]], asked: list[Any]
) -> Callable[[str, Callable[[], list[Any]]], list[Any]]:
    """Replies drawn for one verifier serve the others, and the same benchmark later."""

    def keep(name: str, make: Callable[[], list[Any]]) -> list[Any]:
        file = measured.OUT / NAME / f"{digest_json([*asked, name])}.json"
        if not file.is_file():
            file.parent.mkdir(parents=True, exist_ok=True)
            write_json(file, make())
        drawn[name] = json.loads(file.read_text(encoding="utf-8"))
        return drawn[name]

    return keep


def _say(progress: Progress) -> None:
    print(f"{progress.done} of {progress.total} {progress.note}", file=sys.stderr, flush=True)


def _line(name: str, rows: Mapping[str, Row]) -> dict[str, Any]:
    return {
        "verifier": name,
        "best of all, %": row_text(rows[ACCURACY], 100),
        "picked at random, %": row_text(rows[RANDOM_PICK], 100),
        "gain in points": row_text(rows[GAIN], 100),
    }


if __name__ == "__main__":
    main()
