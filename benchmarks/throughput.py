"""Candidates per hour against the plain loop, on one list of candidates, with the same choice.

The plain loop prunes block by block for each candidate and measures it on all windows. The search
validates each on a few layers, shares results of equal masks, compares on few windows, and measures
the promising ones on all; its statistics and baseline count as its own time, and so does loading.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Any

from autoprune.candidate import Candidate
from autoprune.design.chat import Reply
from autoprune.design.formulas import formula_text
from autoprune.evaluation.perplexity import evaluate_windows
from autoprune.metrics import candidate_metric
from autoprune.models.loading import load_model
from autoprune.models.reference import DEMO_MODEL
from autoprune.models.structure import prunable_linears
from autoprune.pruning import DenseWeights, MetricScore, PruningPlan, prune
from autoprune.pruning.products import settled_precision
from autoprune.recipe import Recipe
from autoprune.repair import Repair
from autoprune.search.search import Search
from autoprune.search.spec import DesignerSpec, SearchBudget, SearchSpec
from autoprune.search.starts import RecipeSpec
from autoprune.search.steps import Propose
from autoprune.text.corpora import load_corpus
from autoprune.text.splits import split
from autoprune.text.windows import token_windows
from benchmarks.measured import OUT
from benchmarks.searching import run_search
from benchmarks.table import Goal, publish
from tasks.state import State

# What a designer writes in a search: a few ideas, near misses, and many repetitions in other words.
METRICS = (
    "abs(W) * x_norm ** 0.5",
    "sq(W) * sq(x_norm)",
    "abs(W) * x_max",
    "abs(W) * x_norm + abs(W)",
    "sqrt(abs(W) * x_norm)",
    "abs(W) * x_var",
    "abs(W) / row_norm(W) + abs(W) / col_norm(W)",
    "(abs(W) / row_norm(W) + abs(W) / col_norm(W)) * x_norm ** 0.5",
    "abs(W) * x_norm * 2",
    "log1p(abs(W) * x_norm)",
)
ALLOCATIONS = ("uniform", "ramp", "sdsa", "formula:0.1 * depth - 0.05 * tail")
# What a longer search goes on to: other exponents, factors and strengths.
LATER_METRICS = (
    "abs(W) * x_norm ** 0.25",
    "abs(W) * x_norm ** 0.75",
    "abs(W) * x_norm ** 1.5",
    "abs(W) ** 0.75 * x_norm",
    "abs(W) * x_norm * col_norm(W) ** 0.5",
    "abs(W) * (x_norm + x_max)",
    "abs(W) * x_norm + sq(W)",
    "rank(abs(W)) * x_norm",
    "abs(W) * sqrt(x_norm * x_max)",
    "sq(W) * x_norm * x_norm * 3",
)
LATER_ALLOCATIONS = ("ramp:half_width=0.05", "ramp:half_width=0.15", "sdsa:strength=0.3")


def main() -> None:
    """Time both on the same candidates."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--candidates", type=int, default=24)
    parser.add_argument(
        "--plain",
        type=int,
        help="candidates of the plain loop (default all: the same choice; 0: none)",
    )
    parser.add_argument("--selection-windows", type=int, default=20, help="of 512 tokens")
    parser.add_argument("--rung-windows", type=int, default=2)
    parser.add_argument("--calibration-windows", type=int, default=16, help="of 512 tokens")
    parser.add_argument("--sparsity", type=float, default=0.6)
    parser.add_argument(
        "--precision", choices=("auto", "float32"), default="auto", help="as of a search"
    )
    parser.add_argument("--repairs", nargs="+", default=["none"], help="taken in turn")
    args = parser.parse_args()
    args.precision = settled_precision(args.precision, None)
    args.repairs = [Repair.parse(text).text for text in args.repairs]
    recipes = candidates(args.candidates, args.repairs)
    listed = recipes[: args.plain]
    names = [name_of(recipe) for recipe in listed]
    # Half of the plain loop before and half after, since a machine's speed drifts over an hour.
    half = len(listed) // 2
    plain = plain_loop(listed[:half], args)
    spellings, seconds = ours(recipes, args)
    rate = 3600 * len(recipes) / seconds
    size = f"{args.selection_windows} x 512 tokens"
    title = (
        f"Candidates per hour, SmolLM2-135M at {args.sparsity:.0%}, {size}; the search's products "
        f"on them in {args.precision}, the plain loop's in float32{_repaired(args.repairs)}"
    )
    if args.plain == 0:
        row = {"way": "search", "candidates": len(recipes), "per hour": rate}
        publish("throughput", title, [row])
        return
    # What the search chose is measured by the plain loop too, to compare the two choices fairly.
    chosen = [name_of(recipe) for recipe in spellings]
    plain += plain_loop(listed[half:] + ([] if {*names} & {*chosen} else spellings[:1]), args)
    best, own = (
        min(rows, key=lambda row: float(row["perplexity"]))
        for rows in (plain, [row for row in plain if row["as"] in chosen])
    )
    plain_rate = 3600 * len(plain) / sum(float(row["seconds"]) for row in plain)
    rows = [
        {
            "way": way,
            "candidates": count,
            "per hour": speed,
            "choice": row["as"],
            "its perplexity in the plain loop": row["perplexity"],
        }
        for way, count, speed, row in (
            ("plain loop", len(plain), plain_rate, best),
            ("search", len(recipes), rate, own),
        )
    ]
    goals = [
        Goal("plain loop's rate by the search's", plain_rate / rate, 0.1),
        Goal("search's choice by the plain loop's", own["perplexity"] / best["perplexity"], 1.0),
    ]
    publish("throughput", title, rows, goals, plain=plain)


def _repaired(repairs: list[str]) -> str:
    return "" if repairs == ["none"] else f"; repaired by {', '.join(repairs)} in turn"


def candidates(count: int, repairs: Sequence[str] = ("none",)) -> list[Recipe]:
    """The list, the same for both: first ideas in a fixed random order, then what follows them.

    Args:
        count: Its length.
        repairs: What they are repaired by, in turn.
    """
    first = [(metric, allocation) for metric in METRICS for allocation in ALLOCATIONS]
    metrics, allocations = METRICS + LATER_METRICS, ALLOCATIONS + LATER_ALLOCATIONS
    later = [(m, a) for m in metrics for a in allocations if (m, a) not in first]
    order = Random(0)
    order.shuffle(first)
    order.shuffle(later)
    pairs = first + later
    return [
        Recipe(Candidate("expression", metric), "row", allocation, repairs[number % len(repairs)])
        for number, (metric, allocation) in enumerate((pairs * (count // len(pairs) + 1))[:count])
    ]


def ours(recipes: list[Recipe], args: argparse.Namespace) -> tuple[list[Recipe], float]:
    """The search's choice and its seconds, statistics and baseline included.

    The choice comes in all spellings that have its masks on the dense model's activations. Rounding
    breaks ties differently in them, which the plain loop, block after block, makes visible.
    """
    waiting = iter(recipes)

    def ask(step: Propose) -> Reply:
        recipe = next(waiting)
        lines = (
            f"metric: {recipe.metric.source}",
            f"group: {recipe.group}",
            f"allocation: {recipe.allocation}",
            f"repair: {recipe.repair}",
        )
        return Reply("\n".join(lines) + "\n")

    spec = SearchSpec(
        model=DEMO_MODEL,
        corpus="wikipedia-sample",
        sparsity=args.sparsity,
        arm="list",
        designer=DesignerSpec(kind="scripted"),
        budget=SearchBudget(candidates=len(recipes)),
        precision=args.precision,
        calibration_windows=args.calibration_windows,
        rung_windows=args.rung_windows,
        selection_windows=args.selection_windows,
        sealed_windows=1,
        repair_choices=tuple(args.repairs),
        baselines=(RecipeSpec(metric="wanda"),),
        slots=12,
        promote=0.2,
        repair_calls=0,
        sentinel_every=0,
    )
    folder = OUT / "throughput" / f"{time.time_ns()}"
    # A state of its own: statistics that an earlier run left would cost this one nothing.
    state = State.open(folder / "state")
    started = time.monotonic()
    run_search(folder, spec, ask=ask, state=state)
    seconds = time.monotonic() - started
    with Search.open(folder) as search:
        best = search.best
        same = [e for e in search.entries if best and best.alias in (e.alias, e.duplicate_of)]
    return [e.recipe for e in same if e.recipe is not None] or recipes[:1], seconds


def plain_loop(recipes: list[Recipe], args: argparse.Namespace) -> list[dict[str, Any]]:
    """Prune block by block and measure on all windows, one candidate after the other."""
    loaded = load_model(DEMO_MODEL)
    parts = split(load_corpus("wikipedia-sample"))
    seen = token_windows(parts.calibration, loaded.tokenizer, args.calibration_windows, 512)
    unseen = token_windows(parts.selection, loaded.tokenizer, args.selection_windows, 512)
    dense = DenseWeights(prunable_linears(loaded.model))
    rows = []
    for recipe in recipes:
        plan = replace(PruningPlan.of_recipe(recipe, args.sparsity), scoring="sequential")
        started = time.monotonic()
        with dense:
            prune(loaded.model, MetricScore(candidate_metric(recipe.metric)), plan, windows=seen)
            perplexity = evaluate_windows(loaded.model, unseen).perplexity
        row = {"as": name_of(recipe), "perplexity": perplexity}
        rows.append({**row, "seconds": time.monotonic() - started})
        print(rows[-1], file=sys.stderr, flush=True)
    return rows


def name_of(recipe: Recipe) -> str:
    """Metric, allocation and repair as written."""
    parts = [formula_text(recipe.metric), recipe.allocation]
    return " | ".join(parts if recipe.repair == "none" else [*parts, recipe.repair])
