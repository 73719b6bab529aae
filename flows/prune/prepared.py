"""What is settled before a weight changes: the recipe, the text, the beginning of the record."""

from dataclasses import dataclass, replace
from typing import Any

from autoprune.allocation import build_allocator
from autoprune.bench.cut_text import CutText
from autoprune.bench.prune_request import PruneRequest
from autoprune.bench.text import SELECTION
from autoprune.errors import UsageError
from autoprune.models.record import source_record
from autoprune.pruning import PruningPlan
from flows.params.fields import listed
from flows.prune.params import PruneParams
from flows.terminal import console
from tasks.allocation import choose_allocation, split_windows
from tasks.calibrate import cut_windows, load_model
from tasks.prune import check_request
from tasks.quality import choose_preset
from tasks.state import State
from tasks.stream import open_source
from tasks.workbench import Workbench


@dataclass(frozen=True)
class Prepared:
    """A recipe and its text, ready to prune the model of an open workbench.

    Args:
        params: With a preset's recipe in place of the preset.
        plan: How to prune.
        measured_on: Windows on which perplexity is measured; None: it is not.
        record: The record so far.
    """

    params: PruneParams
    plan: PruningPlan
    measured_on: str | None
    record: dict[str, Any]


def workbench(params: PruneParams) -> Workbench:
    """A workbench for the model, still closed."""
    return Workbench(
        params.model, State.open(), params.seed, console.report, dtype=params.computed_in
    )


def first_record(params: PruneParams, model_digest: str) -> dict[str, Any]:
    """The fields common to both kinds of pruning."""
    return source_record(params.model, model_digest, params.seed) | {
        "dtype": params.computed_in,
        "dtype_asked": params.dtype,
        "held_out": params.held_out,
        "out": None,
    }


def request_of(params: PruneParams) -> PruneRequest:
    """Check every name of the recipe, and whether its allocation fits the other options."""
    request = check_request(
        params.prunes_by,
        params.group,
        params.share,
        params.pattern,
        params.allocation,
        params.repair,
        params.statistics,
        params.streams,
    )
    if request.grid and params.streams:
        raise UsageError(
            "allocation 'auto' measures the whole model, which streaming never holds; choose "
            "once without --stream, then name the allocation it found"
        )
    if request.grid and listed(params.held_out):
        raise UsageError(
            "allocation 'auto' splits its text by itself and takes no --held-out; leave one out"
        )
    return request


def prepare(bench: Workbench, params: PruneParams, request: PruneRequest | None) -> Prepared:
    """Load or find the model, choose what is left to choose, and cut the text."""
    if params.streams:
        source = open_source(bench, params.prunes_by, params.statistics)
    else:
        source = load_model(bench, params.model)
    chosen: dict[str, Any] = {}
    if request is None:
        params, chosen = _chosen(bench, params)
        request = request_of(params)
    plan = replace(request.plan, seed=params.seed)
    allocation = params.allocation
    cut = params.corpus, params.windows, params.seqlen
    fresh, held_out = plan.repair.fresh_windows, listed(params.held_out)
    text: CutText | None = None
    measured_on: str | None = None
    notes: list[str] = []
    if request.grid:
        parts = split_windows(bench, *cut, params.seed, fresh)
        text = parts.calibration
        found = choose_allocation(bench, request.metric, plan, request.grid)
        allocation = found.best
        plan = replace(plan, allocation=build_allocator(allocation))
        read = {"selection": parts.selection.to_json(), "split": parts.split}
        chosen["allocation_choice"] = found.to_json() | read
    elif chosen and not held_out:
        text, measured_on, notes = _text_to_measure(bench, cut, params.seed, fresh)
    elif chosen or request.reads_text:
        text = cut_windows(bench, *cut, held_out, fresh)
        if chosen:
            notes = ["no perplexity was measured: --held-out names the texts that figures are for"]
    elif options := params.text_options:
        notes = [f"no text is read by {request.metric}, so that {options} changed nothing"]
    record = chosen | first_record(params, source.digest)
    record |= {
        "metric": request.metric,
        "allocation": allocation,
        "group": plan.group,
        "pattern": params.pattern,
        "solver": params.repair,
        "target": plan.sparsity,
        "notes": [*(text.notes if text else ()), *notes],
        "perplexity": None,
    }
    if text is not None:
        record |= text.record
    return Prepared(params, plan, measured_on, record)


def _chosen(bench: Workbench, params: PruneParams) -> tuple[PruneParams, dict[str, Any]]:
    """Return the parameters with a preset's recipe, and the choice for the record."""
    wanted = params.quality, params.minutes, params.calibration_windows
    found = choose_preset(bench, params.model, params.seqlen, *wanted)
    for line in found.lines:
        console.screen().event(line)
    whole = params.model_copy(update={**found.options, "quality": None, "minutes": None})
    return whole, {"preset": found.to_json()}


def _text_to_measure(
    bench: Workbench, cut: tuple[str, int, int], seed: int, fresh: int
) -> tuple[CutText, str | None, list[str]]:
    """Return the calibration text, the name of the windows to measure on, or why there are none."""
    try:
        return split_windows(bench, *cut, seed, fresh).calibration, SELECTION, []
    except UsageError as error:
        text = cut_windows(bench, *cut, None, fresh)
        return text, None, [f"no perplexity was measured against the dense one: {error}"]
