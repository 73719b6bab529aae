"""A search's recipe against the hand-made catalogue on sealed text, and on a second model.

Every hand-made combination may try several strengths of its allocation on the selection text; the
best of them is measured on the sealed text, as is the found recipe, unchanged. Where the found
recipe is a hand-made one, the title says so, and it is compared with the best of the others. All
are pruned from statistics of one calibration draw. With ``--peer`` llm-compressor's Wanda and
SparseGPT are pruned from the same tokens and measured on the same sealed windows. ``--second``
prunes another model block by block by the found recipe and by hand-made ones, block tuning among
them, and measures it dense. ``--recipe`` takes a recipe in the words of ``autoprune compare``
instead of a finished search, so that what a search found on another machine is measured here
without searching again. What was measured is kept and not measured again. Every figure on the
sealed text is a look that the ledger of sealed texts counts. Each row says how its recipe differs
from the found one on the sealed windows of its model, paired, with a 95 % interval and its p after
Holm's correction over all other recipes of that model.
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from autoprune.bench.text import CALIBRATION, SEALED, SELECTION
from autoprune.candidate import Candidate
from autoprune.comparison.methods import parse_method
from autoprune.design.formulas import formula_text
from autoprune.design.parts import ignores_metric
from autoprune.evaluation.perplexity import evaluate_windows, perplexity_of
from autoprune.metrics import build_metric, candidate_metric
from autoprune.models.loading import load_model
from autoprune.models.reference import DEMO_MODEL, resolve
from autoprune.numerics import computed_by
from autoprune.progress import silent
from autoprune.pruning import MetricScore, PruningPlan, prune
from autoprune.recipe import Recipe
from autoprune.search.moves import recipe_key, recipe_text
from autoprune.search.paired import paired_difference
from autoprune.search.search import Search
from autoprune.search.spec import SearchSpec
from autoprune.text.corpora import load_corpus
from autoprune.text.splits import Splits, split
from autoprune.text.windows import token_windows
from benchmarks.known import Known
from benchmarks.measured import OUT, run_fresh
from benchmarks.peer import peer_python
from benchmarks.subject import prepare as prepare_folder
from benchmarks.table import Goal, corrected_changes, publish
from flows.terminal.console import PlainScreen
from tasks.prepare import prepare
from tasks.sealed_looks import record_look
from tasks.search_bench import SearchBench
from tasks.state import State
from tasks.workbench import opened

METRICS = ("magnitude", "wanda", "ria")
# Loss of each window, nats per token.
Windows = Known[list[float]]
# Strengths that each allocation may try on the selection text.
ALLOCATIONS: dict[str, tuple[str, ...]] = {
    "uniform": ("uniform",),
    "ramp": tuple(f"ramp:half_width={w}" for w in (0.05, 0.1, 0.15, 0.2)),
    "sdsa": tuple(f"sdsa:strength={s}" for s in (0.1, 0.15, 0.2, 0.3)),
    "owl": tuple(f"owl:lam={v}" for v in (0.04, 0.08, 0.12, 0.16)),
    "dlp": tuple(f"dlp:alpha={v}" for v in (0.05, 0.1, 0.15, 0.2)),
}
OWN_MASK = "sparsegpt:select=own+ebft:epochs=2"
CHEAP = ("none", "sparsegpt")
# The last is SparseGPT block after block, as in its paper.
DEAR = (
    "mrp",
    "walk:mrp",
    "ebft:epochs=2",
    "alps+ebft:epochs=2",
    "mrp:select=own+ebft:epochs=2",
    OWN_MASK,
    "walk:sparsegpt:select=own",
)
REPAIRS = CHEAP + DEAR
# A repair that takes minutes has the strength that is best with a cheaper one.
JUDGED_WITH = dict.fromkeys(DEAR, "sparsegpt")
# On the second model, in the words of ``autoprune compare``.
SECOND = ("wanda", "ria", "sparsegpt", "wanda+ebft:epochs=2")
DENSE = "dense"
SAME = "the same recipe"
# Stands in a recipe whose repair chooses the mask, so that no metric has a part in it.
METRIC_OF_NONE = "wanda"
QUICK = {"metrics": ("wanda",), "allocations": ("uniform", "ramp", "sdsa")}


def main() -> None:
    """Measure what is missing and print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--run", default="demo", help="finished search, by name or folder")
    parser.add_argument("--recipe", help="instead of --run, such as wanda+ramp+sparsegpt")
    parser.add_argument("--sparsity", type=float, default=0.6, help="with --recipe: share of zeros")
    parser.add_argument("--calibration-windows", type=int, default=32, help="with --recipe")
    parser.add_argument("--quick", action="store_true", help="Wanda with two allocations only")
    parser.add_argument("--measured-windows", type=int, default=10, help="of each part")
    parser.add_argument("--peer", action="store_true", help="llm-compressor on the same text")
    parser.add_argument("--second", metavar="REF", help="a second model, or 'designer': Qwen 1.5B")
    parser.add_argument("--second-calibration-windows", type=int, default=16, help="of 256 tokens")
    parser.add_argument(
        "--second-measured-windows", type=int, default=32, help="of 256 tokens, sealed"
    )
    args = parser.parse_args()
    state = State.open()
    found, spec = stated(args) if args.recipe else searched(args.run, state)
    if args.peer and resolve(spec.model).digest != resolve(DEMO_MODEL).digest:
        raise SystemExit(f"--peer prunes the demo model, and this search is of {spec.model}")
    known: Windows = Known(OUT / "found_recipe.runs.jsonl", conditions(spec))
    spec = spec.model_copy(
        update={
            "selection_windows": args.measured_windows,
            "sealed_windows": args.measured_windows,
            "repair_choices": tuple(dict.fromkeys((*spec.repair_choices, found.repair, *REPAIRS))),
        }
    )
    bench = SearchBench(
        spec.model, state, spec.seed, silent,
        spec=spec, run_id="found", designs_in="off",
    )  # fmt: skip
    rows = []
    with opened(bench):
        prepare(bench)
        subject = Subject(bench, spec, known)
        rows.append(subject.row("found", found))
        if args.peer:
            rows += subject.peers()
        rows += subject.catalogue(quick=args.quick)
    rows.sort(key=lambda row: float(row["sealed"]))
    compare(rows)
    if args.second:
        counts = args.second_calibration_windows, args.second_measured_windows
        others = list(second_model(args.second, found, spec, *counts, known))
        compare(others)
        rows += others
    size = f"{args.measured_windows} x {spec.seqlen}"
    title = f"Found recipe and hand-made ones, {spec.sparsity:.0%}, {size}"
    publish("found_recipe", title + known_as(rows), rows, goals_of(rows), recipe=found.to_json())


def searched(run: str, state: State) -> tuple[Recipe, SearchSpec]:
    """What a finished search found, and how it was made."""
    named = Path(run)
    with Search.open(named if named.is_dir() else state.run(run)) as search:
        best, spec = search.best, search.spec
    if best is None or best.recipe is None:
        raise SystemExit(f"the search {run} found nothing that beats its reference")
    return best.recipe, spec


def stated(args: argparse.Namespace) -> tuple[Recipe, SearchSpec]:
    """A recipe in words, on the demo's model and text."""
    made = in_words(args.recipe)
    spec = SearchSpec(
        model=DEMO_MODEL,
        corpus="wikipedia-sample",
        sparsity=args.sparsity,
        calibration_windows=args.calibration_windows,
    )
    return made, spec


def in_words(text: str) -> Recipe:
    """The recipe that ``autoprune compare`` calls so."""
    method = parse_method(text)
    if method.peer is not None or method.statistics != "dense":
        raise SystemExit(f"{text!r} is not a recipe: metric, group, allocation and repair are")
    return method.recipe()


def compare(rows: list[dict[str, Any]]) -> None:
    """Put into each row of one model, in place of its windows, how it differs from the found."""
    losses, keys = ([row.pop(name) for row in rows] for name in ("nll", "key"))
    place = next(place for place, row in enumerate(rows) if row["recipe"] == "found")
    others = [n for n, key in enumerate(keys) if key != keys[place]]
    differences = [paired_difference(losses[n], losses[place]) for n in others]
    changes = dict(zip(others, corrected_changes(differences), strict=True))
    for number, row in enumerate(rows):
        row["against the found"] = changes.get(number, SAME)
    rows[place]["against the found"] = "-"


def known_as(rows: list[dict[str, Any]]) -> str:
    """End of the title: which hand-made recipe the found one is, if it is any."""
    same = [row["recipe"] for row in rows if row["against the found"] == SAME]
    if not same:
        return ""
    return f"; the found recipe IS a hand-made one of the catalogue: {', '.join(same)}"


def conditions(spec: SearchSpec) -> list[Any]:
    """What every figure depends on besides its recipe, part, windows and sparsity."""
    text = ["losses of windows", spec.model, spec.corpus, spec.text_split]
    return [*text, spec.calibration_windows, spec.seqlen, spec.pattern, computed_by()]


def goals_of(rows: list[dict[str, Any]]) -> list[Goal]:
    """The bounds that the found recipe has to keep, where their other side was measured."""
    sealed = {row["recipe"]: float(row["sealed"]) for row in rows if row["model"] == "searched"}
    wanted = (
        ("found by Wanda", "wanda | row | uniform", 0.5),
        ("found by llm-compressor's SparseGPT", "llm-compressor sparsegpt", 0.65),
    )
    goals = [
        Goal(what, sealed["found"] / sealed[other], limit)
        for what, other, limit in wanted
        if other in sealed
    ]
    made = [
        float(row["sealed"])
        for row in rows
        if row["model"] == "searched"
        and row["recipe"] != "found"
        and "llm" not in row["recipe"]
        and row["against the found"] != SAME
    ]
    what = "found by the best hand-made other than itself"
    goals.append(Goal(what, sealed["found"] / min(made), 1.0))
    second = [row for row in rows if row["model"] != "searched"]
    for row in second:
        if row["recipe"] not in ("found", DENSE) and row["against the found"] != SAME:
            found = next(float(other["sealed"]) for other in second if other["recipe"] == "found")
            share = found / float(row["sealed"])
            goals.append(Goal(f"second model, found by {row['recipe']}", share, 1))
    return goals


class Subject:
    """The searched model, pruned one-shot.

    Args:
        bench: Open and prepared.
        spec: The search's specification with this benchmark's windows.
        known: What was measured before.
    """

    def __init__(self, bench: SearchBench, spec: SearchSpec, known: Windows) -> None:
        self.bench = bench
        self.spec = spec
        self.known = known

    def losses(self, recipe: Recipe, *parts: str) -> list[list[float]]:
        """Loss of each window on parts of the text; pruned once for all that are not known."""
        keys = {
            part: (recipe.to_json(), part, len(self.bench.part(part)), self.spec.sparsity)
            for part in parts
        }
        found = {part: self.known.get(*key) for part, key in keys.items()}
        figures = {part: value for part, value in found.items() if value is not None}
        if len(figures) < len(keys):
            with self.bench.pruned(recipe, self.bench.budget_of(self.spec.sparsity)):
                for part in [part for part in parts if part not in figures]:
                    figures[part] = self._measure(recipe, part, keys[part])
        return [figures[part] for part in parts]

    def _measure(self, recipe: Recipe, part: str, key: tuple[Any, ...]) -> list[float]:
        if part == SEALED:
            self.note_look(*key)
        found = evaluate_windows(self.bench.loaded.model, self.bench.part(part))
        text = recipe_text(recipe, formula_text(recipe.metric))
        print(f"{text} on {part}: {found.perplexity:.2f}", file=sys.stderr, flush=True)
        return self.known.put(list(found.nll), *key)

    def note_look(self, *key: Any) -> None:
        """Count the look that a figure takes at the sealed text, before it is taken."""
        note_look(self.bench.state, self.bench.splits, self.known, *key)

    def row(self, name: str, recipe: Recipe) -> dict[str, Any]:
        """Both figures of a recipe."""
        selection, sealed = self.losses(recipe, SELECTION, SEALED)
        return {
            "model": "searched",
            "recipe": name,
            "as": recipe_text(recipe, formula_text(recipe.metric)),
            "selection": perplexity_of(selection),
            "sealed": perplexity_of(sealed),
            "nll": sealed,
            "key": recipe_key(recipe),
        }

    def catalogue(self, *, quick: bool) -> Iterator[dict[str, Any]]:
        """Every hand-made combination at its best strength on the selection text."""
        for metric in QUICK["metrics"] if quick else METRICS:
            group = build_metric(metric).group
            for family in QUICK["allocations"] if quick else tuple(ALLOCATIONS):
                for repair in REPAIRS:
                    made = Recipe(Candidate("builtin", metric), group, repair=repair)
                    if ignores_metric(made) and metric != METRIC_OF_NONE:
                        continue
                    tries = [replace(made, allocation=text) for text in ALLOCATIONS[family]]
                    best = min(tries, key=self.judged)
                    name = recipe_text(replace(made, allocation=family), metric)
                    yield self.row(name, best)

    def judged(self, recipe: Recipe) -> float:
        """Perplexity on the selection text that decides between strengths."""
        repair = JUDGED_WITH.get(recipe.repair, recipe.repair)
        return perplexity_of(self.losses(replace(recipe, repair=repair), SELECTION)[0])

    def peers(self) -> Iterator[dict[str, Any]]:
        """llm-compressor on the same tokens; the demo model only, which lies as a folder."""
        model, _ = prepare_folder()
        files = {part: OUT / f"found-{part}.npy" for part in (CALIBRATION, SEALED)}
        for part, file in files.items():
            np.save(file, self.bench.part(part).numpy())
        for method in ("wanda", "sparsegpt"):
            key = ("llm-compressor", method, len(self.bench.part(SEALED)), self.spec.sparsity)
            value = self.known.get(*key)
            if value is None:
                self.note_look(*key)
                paths = (str(model), str(files[CALIBRATION]), str(files[SEALED]))
                words = (method, *paths, str(self.spec.sparsity))
                run = run_fresh("benchmarks.peer_perplexity", *words, python=peer_python())
                value = self.known.put([float(loss) for loss in run["nll"]], *key)
            name = f"llm-compressor {method}"
            row = {"model": "searched", "recipe": name, "as": name, "selection": "-"}
            yield row | {"sealed": perplexity_of(value), "nll": value, "key": name}


def note_look(state: State, parts: Splits, known: Windows, *key: Any) -> None:
    """Count one look at a sealed text; the same figure counts once.

    Args:
        state: The state folder, which holds the ledger.
        parts: The split whose sealed text is looked at.
        known: Where the figure will be kept.
        *key: Under which key.
    """
    look = f"benchmark found_recipe {known.name(*key)[:16]}"
    record_look(state, parts.sealed.digest, look, parts.whole, kind="benchmark", splits=parts)


def second_model(
    ref: str, found: Recipe, spec: SearchSpec, samples: int, windows: int, known: Windows
) -> Iterator[dict[str, Any]]:
    """Found recipe and :data:`SECOND` on another model, each pruned block by block from anew.

    Block by block only one block's Gram matrices are in memory, and no copy of the weights. The
    model as it is comes last.
    """
    if ref == "designer":
        from autoprune.design.local import join_model

        ref = str(join_model(State.open().root / "models"))
    wanted: dict[str, Recipe | None] = {"found": found}
    wanted |= {text: in_words(text) for text in SECOND}
    wanted[DENSE] = None
    parts = split(load_corpus(spec.corpus), seed=spec.text_split)
    for name, recipe in wanted.items():
        # The dense model is not pruned, so neither sparsity nor calibration text decides it.
        made = [recipe.to_json(), spec.sparsity, samples] if recipe is not None else [DENSE]
        key = (ref, *made, windows)
        value = known.get(*key)
        if value is None:
            loaded = load_model(ref)
            note_look(State.open(), parts, known, *key)
            seen = token_windows(parts.calibration, loaded.tokenizer, samples, 256)
            unseen = token_windows(parts.sealed, loaded.tokenizer, windows, 256)
            if recipe is not None:
                plan = replace(PruningPlan.of_recipe(recipe, spec.sparsity), scoring="sequential")
                score = MetricScore(candidate_metric(recipe.metric))
                report = PlainScreen(sys.stderr).progress
                prune(loaded.model, score, plan, windows=seen, report=report)
            value = known.put(list(evaluate_windows(loaded.model, unseen).nll), *key)
            print(f"second model, {name}: {perplexity_of(value):.2f}", file=sys.stderr, flush=True)
        text = recipe_text(recipe, formula_text(recipe.metric)) if recipe is not None else DENSE
        row = {"model": Path(ref).stem, "recipe": name, "as": text, "selection": "-"}
        row_key = recipe_key(recipe) if recipe is not None else DENSE
        yield row | {"sealed": perplexity_of(value), "nll": value, "key": row_key}
