"""Candidates per hour against the plain loop, on one list of candidates, with the same choice.

The plain loop prunes block by block for each candidate and measures it on all windows. The search
validates each on a few layers, shares results of equal masks, compares on few windows, and measures
the promising ones on all; its statistics and baseline count as its own time, and so does loading.
"""

import argparse
import sys
import time
from dataclasses import replace
from itertools import cycle, islice
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
from autoprune.progress import silent
from autoprune.pruning import DenseWeights, MetricScore, PruningPlan, prune
from autoprune.recipe import Recipe
from autoprune.search.search import Search
from autoprune.search.spec import DesignerSpec, SearchBudget, SearchSpec
from autoprune.search.starts import RecipeSpec
from autoprune.search.steps import Done, Propose
from autoprune.text.corpora import load_corpus
from autoprune.text.splits import split
from autoprune.text.windows import token_windows
from benchmarks.measured import OUT
from benchmarks.table import Goal, publish
from tasks import steps
from tasks.prepare import prepare
from tasks.search_bench import SearchBench
from tasks.state import State
from tasks.workbench import opened

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


def main() -> None:
    """Time both on the same candidates."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--candidates", type=int, default=24)
    parser.add_argument("--selection-windows", type=int, default=20, help="of 512 tokens")
    parser.add_argument("--calibration-windows", type=int, default=16, help="of 512 tokens")
    parser.add_argument("--sparsity", type=float, default=0.6)
    args = parser.parse_args()
    recipes = candidates(args.candidates)
    # Half of the plain loop before and half after, since a machine's speed drifts over an hour.
    half = len(recipes) // 2
    plain = plain_loop(recipes[:half], args)
    spellings, seconds = ours(recipes, args)
    plain += plain_loop(recipes[half:], args)
    chosen = {name_of(recipe) for recipe in spellings}
    best, own = (
        min(rows, key=lambda row: float(row["perplexity"]))
        for rows in (plain, [row for row in plain if row["as"] in chosen])
    )
    rates = {
        "plain loop": 3600 * len(plain) / sum(float(row["seconds"]) for row in plain),
        "search": 3600 * len(recipes) / seconds,
    }
    rows = [
        {
            "way": way,
            "per hour": rates[way],
            "choice": row["as"],
            "its perplexity in the plain loop": row["perplexity"],
        }
        for way, row in (("plain loop", best), ("search", own))
    ]
    goals = [
        Goal("plain loop's rate by the search's", rates["plain loop"] / rates["search"], 0.1),
        Goal("search's choice by the plain loop's", own["perplexity"] / best["perplexity"], 1.0),
    ]
    title = (
        f"Candidates per hour, SmolLM2-135M at {args.sparsity:.0%}, {len(recipes)} candidates, "
        f"{args.selection_windows} x 512 tokens"
    )
    publish("throughput", title, rows, goals, plain=plain)


def candidates(count: int) -> list[Recipe]:
    """The list, the same for both: the ideas in a fixed random order, again where it is longer."""
    pairs = [(metric, allocation) for metric in METRICS for allocation in ALLOCATIONS]
    Random(0).shuffle(pairs)
    chosen = islice(cycle(pairs), count)
    return [Recipe(Candidate("expression", m), "row", a) for m, a in chosen]


def ours(recipes: list[Recipe], args: argparse.Namespace) -> tuple[list[Recipe], float]:
    """The search's choice and its seconds, statistics and baseline included.

    The choice comes in all spellings that have its masks on the dense model's activations. Rounding
    breaks ties differently in them, which the plain loop, block after block, makes visible.
    """
    waiting = iter(recipes)
    spec = SearchSpec(
        model=DEMO_MODEL,
        corpus="wikipedia-sample",
        sparsity=args.sparsity,
        arm="list",
        designer=DesignerSpec(kind="scripted"),
        budget=SearchBudget(candidates=len(recipes)),
        calibration_windows=args.calibration_windows,
        selection_windows=args.selection_windows,
        sealed_windows=1,
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
    bench = SearchBench(
        spec.model, state, spec.seed, silent, spec=spec, run_id=folder.name, designs_in="off"
    )
    with Search.open(folder, spec) as search, opened(bench):
        prepare(bench)
        while not isinstance(step := search.next_step(), Done):
            if isinstance(step, Propose):
                search.record(step, answer(next(waiting)))
            else:
                search.record(step, steps.do(bench, step, search.seconds_for(step)))
        seconds = time.monotonic() - started
        best = search.best
        same = [e for e in search.entries if best and best.alias in (e.alias, e.duplicate_of)]
    return [e.recipe for e in same if e.recipe is not None] or recipes[:1], seconds


def answer(recipe: Recipe) -> Reply:
    """A recipe as a designer would write it."""
    return Reply(
        f"metric: {recipe.metric.source}\ngroup: {recipe.group}\n"
        f"allocation: {recipe.allocation}\nrepair: none\n"
    )


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
    """Metric and allocation as written."""
    return f"{formula_text(recipe.metric)} | {recipe.allocation}"
