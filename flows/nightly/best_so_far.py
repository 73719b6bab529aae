"""The starting point of a night: the best recipe of earlier searches of the same model."""

import logging
from typing import Any

from autoprune.candidate import FORMULA_PREFIX
from autoprune.errors import AutopruneError
from autoprune.metrics.language import parse
from autoprune.models.record import read_record
from autoprune.recipe import Recipe
from autoprune.recipe_text import RecipeText
from flows.search.beginning import unmeasured
from flows.search.params import SearchParams
from flows.search.runs import saved_params
from flows.terminal import console
from tasks import track
from tasks.run_files import RunFiles
from tasks.state import State
from tasks.track import aliases, registry
from tasks.track.models import budget_name

log = logging.getLogger(__name__)


def with_best_so_far(state: State, params: SearchParams) -> SearchParams:
    """Add the registry's champion, else the latest winner, to the starts of a search.

    A search that has begun keeps its original starts, so that a retry can resume it.
    """
    if params.run is not None and RunFiles.of(state, params.run).params.exists():
        starts = saved_params(state, params.run).starts
    else:
        found = _champion(state, params) or _latest(state, params)
        line = recipe_line(found) if found is not None else ""
        if found is not None and not line:
            console.screen().event(
                "the best recipe so far is code, or scored block by block, which cannot be "
                "written as one line: tonight does not start from it"
            )
        new = (line,) if line and line not in params.starts else ()
        for text, reason in unmeasured(params.model_copy(update={"starts": new})).items():
            console.screen().event(
                f"tonight does not start from the best recipe so far, {text}: {reason}"
            )
            new = ()
        starts = (*params.starts, *new)
    return params.model_copy(update={"starts": starts})


def recipe_line(recipe: dict[str, Any]) -> str:
    """Format a recipe as ``METRIC+PART+...``; empty for code, which no line can hold."""
    found = Recipe.from_json(recipe)
    if found.metric.is_code or found.scoring != "dense":
        return ""
    metric = found.metric.source
    if found.metric.kind == "scheme":
        return metric if found.repair == "none" else f"{metric}+{found.repair}"
    if found.metric.kind == "expression":
        formula = parse(metric).with_constants(found.metric.params)
        metric = f"{FORMULA_PREFIX}({formula.text})"
    return RecipeText(metric, found.group, found.allocation, found.repair).text


def _champion(state: State, params: SearchParams) -> dict[str, Any] | None:
    try:
        tracker = track.Tracker(state)
        name = budget_name(params.model, params.budget, smaller=bool(params.schemes))
        number = aliases.aliases_of(tracker, name)[aliases.CHAMPION]
        record = registry.version_record(tracker, name, number, aliases.CHAMPION)
    except Exception:
        # No registry, no champion, or its files are gone: look at earlier runs instead.
        log.info("no champion to start from", exc_info=True)
        return None
    return _recipe(record, params)


def _latest(state: State, params: SearchParams) -> dict[str, Any] | None:
    for run in state.run_ids():
        try:
            if found := _recipe(read_record(RunFiles.of(state, run).winner), params):
                return found
        except AutopruneError:
            log.info("the winner of %s cannot be read", run, exc_info=True)
    return None


def _recipe(record: dict[str, Any], params: SearchParams) -> dict[str, Any] | None:
    """Return a winner's recipe if its model, budget and pattern match."""
    budget = params.budget
    # A share found for bytes or speed is not a target.
    target = record.get("budget", {}).get("asked", record.get("target"))
    wanted = params.share if budget.unit == "sparsity" else str(budget)
    same = (record.get("model"), target, record.get("pattern"))
    if same != (params.model, wanted, params.pattern):
        return None
    recipe: dict[str, Any] | None = record.get("recipe")
    is_scheme = recipe is not None and recipe["metric"]["kind"] == "scheme"
    return recipe if is_scheme == bool(params.schemes) else None
