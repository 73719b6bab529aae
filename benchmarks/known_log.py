"""What a search's log knows: its graph and the losses of every recipe measured whole."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autoprune.design.formulas import formula_text
from autoprune.design.graph import Graph
from autoprune.errors import PrerequisiteError, UsageError
from autoprune.recipe import Recipe
from autoprune.search import graph_notes
from autoprune.search.archive import Archive, Entry
from autoprune.search.evaluator import Evaluator
from autoprune.search.export import read_events
from autoprune.search.paired import Difference
from autoprune.search.search import LOG_FILE, Search
from autoprune.search.spec import SearchSpec
from autoprune.search.state import SearchState
from autoprune.search.steps import Measurement, Validation, outcome_from_json


@dataclass(frozen=True)
class KnownLog:
    """A log.

    Args:
        spec: What was searched.
        graph: All that was claimed and measured.
        archive: Entries with their losses.
        lessons: How often each lesson helped and hurt.
    """

    spec: SearchSpec
    graph: Graph
    archive: Archive
    lessons: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def measured(self) -> list[str]:
        """Aliases of recipes measured on all windows, in the order of their design."""
        found = [e for e in self.archive if 2 in e.results and e.duplicate_of is None]
        return [entry.alias for entry in found if entry.alias in self.graph.nodes]

    def compare(self, one: str, other: str) -> Difference | None:
        """Paired difference of loss, the first less the second."""
        return self.archive.compare(self.archive[one], self.archive[other], fitness="perplexity")


def read_log(folder: Path) -> KnownLog:
    """Read a search's folder; the search is replayed where this version plans as it did.

    Where another version planned it, or another process has it open, recipes and results are read
    alone: no reasons, no lessons.

    Raises:
        UsageError: If there is no log.
    """
    if not (folder / LOG_FILE).is_file():
        raise UsageError(f"{folder} holds no search; name a folder with {LOG_FILE}")
    try:
        with Search.open(folder) as search:
            tallies = {a: (n.helpful, n.harmful) for a, n in search.lessons.items()}
            return KnownLog(search.spec, search.graph, search.archive, tallies)
    except (UsageError, PrerequisiteError) as error:
        print(f"recipes and results alone are read: {error}", file=sys.stderr)
        return _results_alone(folder / LOG_FILE)


def _results_alone(log: Path) -> KnownLog:
    events = read_events(log)
    opened = next(event for event in events if event.kind == "opened")
    spec = SearchSpec.recorded(opened.body["spec"])
    evaluator = Evaluator(SearchState(spec, Archive(spec.reference, spec.proxy, spec.fitness)))
    graph_notes.note_task(evaluator.state)
    entries: list[Entry] = []
    validations: dict[str, Validation] = {}
    for event in events:
        step: dict[str, Any] = event.body.get("step", {})
        if step.get("kind") == "Validate":
            seen = outcome_from_json(event.body["outcome"])
            if isinstance(seen, Validation):
                validations[Recipe.from_json(step["recipe"]).validated_as] = seen
        if step.get("role") not in ("baseline", "candidate") or step.get("rung") != 2:
            continue
        outcome = outcome_from_json(event.body["outcome"])
        alias = step["recipe_id"]
        if not isinstance(outcome, Measurement) or step["known"] or alias in evaluator.archive:
            continue
        recipe = Recipe.from_json(step["recipe"])
        order = 0 if step["role"] == "baseline" else len(entries) + 1
        entry = Entry(alias, order, "recorded", recipe, formula_text(recipe.metric))
        entries.append(evaluator.archive.add(entry))
        graph_notes.note_proposal(evaluator.state, entry)
        entry.results[2], entry.status = outcome, "measured"
        entry.validation = validations.get(recipe.validated_as)
    for entry in entries:
        evaluator.note(entry, 2)
    return KnownLog(spec, evaluator.state.graph, evaluator.archive)
