"""Perplexity of metrics, allocations and repairs by hand: the table of ``docs/pruning.md``.

With ``--part sealed`` every figure is a look that the ledger of sealed texts counts.
"""

import argparse
from dataclasses import dataclass
from typing import Any

from autoprune.allocation import ModelContext
from autoprune.digest import digest_json
from autoprune.evaluation.perplexity import evaluate_windows
from autoprune.metrics import build_metric
from autoprune.models.loading import load_model
from autoprune.models.reference import DEMO_MODEL
from autoprune.models.structure import prunable_linears
from autoprune.pruning import DenseWeights, MetricScore, PruningPlan, prune
from autoprune.statistics.statistics import BASIC, collect_statistics
from autoprune.text.corpora import load_corpus
from autoprune.text.splits import split
from autoprune.text.windows import token_windows
from benchmarks.table import publish
from tasks.sealed_looks import record_look
from tasks.state import State


@dataclass(frozen=True)
class Row:
    """One recipe."""

    metric: str
    allocation: str = "uniform"
    repair: str = "none"


ROWS = [
    Row("magnitude"),
    Row("ria"),
    Row("wanda"),
    *(
        Row("wanda", allocation)
        for allocation in (
            "owl",
            "sdsa:statistic=skew",
            "sdsa",
            "reversed:sdsa",
            "shuffled:sdsa",
            "matched-ramp:sdsa",
            "ramp",
            "ramp:relax_last=0.5",
        )
    ),
    Row("wanda", repair="mrp"),
    Row("wanda", "ramp", "mrp"),
]


def main() -> None:
    """Prune, measure, restore; one calibration draw, one-shot statistics."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sparsity", type=float, default=0.6)
    parser.add_argument(
        "--calibration-windows", dest="samples", type=int, default=16, help="of 512 tokens"
    )
    parser.add_argument(
        "--measured-windows", dest="windows", type=int, default=20, help="of 512 tokens"
    )
    parser.add_argument("--part", choices=("selection", "sealed"), default="selection")
    args = parser.parse_args()
    loaded = load_model(DEMO_MODEL)
    parts = split(load_corpus("wikipedia-sample"))
    seen = token_windows(parts.calibration, loaded.tokenizer, args.samples, 512)
    part = parts.selection if args.part == "selection" else parts.sealed
    unseen = token_windows(part, loaded.tokenizer, args.windows, 512)

    def note_look(name: str) -> None:
        if args.part == "sealed":
            run = digest_json([vars(args), loaded.source.digest])[:16]
            look = f"benchmark recipes {run} {name}"
            record_look(
                State.open(), parts.sealed.digest, look, parts.whole, kind="benchmark", splits=parts
            )

    layers = prunable_linears(loaded.model)
    statistics = collect_statistics(loaded.model, seen, needs=BASIC | {"gram"})
    context = ModelContext(layers, statistics)
    note_look("dense")
    rows: list[dict[str, Any]] = [
        {"recipe": "dense", "perplexity": evaluate_windows(loaded.model, unseen).perplexity}
    ]
    dense = DenseWeights(layers)
    for row in ROWS:
        parts_of_name = [row.metric, row.allocation, row.repair]
        name = " + ".join(p for p in parts_of_name if p not in ("uniform", "none"))
        note_look(name)
        metric = build_metric(row.metric)
        plan = PruningPlan.build(
            args.sparsity, group=metric.group, allocation=row.allocation, repair=row.repair
        )
        with dense:
            outcome = prune(
                loaded.model,
                MetricScore(metric),
                plan,
                layers=layers,
                statistics=statistics,
                context=context,
            )
            found = evaluate_windows(loaded.model, unseen)
        rows.append({"recipe": name, "perplexity": found.perplexity})
        print(f"{name}: {found.perplexity:.2f}, pruned in {outcome.seconds:.1f} s", flush=True)
    title = (
        f"SmolLM2-135M at {args.sparsity:.0%}, {args.samples} x 512 calibration tokens, "
        f"{args.windows} x 512 tokens of the {args.part} split"
    )
    publish("recipes", title, rows)
