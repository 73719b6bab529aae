"""The pruning flow: one model, one metric, one budget, one folder."""

import time
from dataclasses import replace
from typing import Any

from prefect import flow

from autoprune.allocation import build_allocator
from autoprune.bench.cut_text import CutText
from autoprune.bench.prune_request import PruneRequest
from autoprune.bench.saving import rounding_note
from autoprune.bench.text import CALIBRATION, SELECTION
from autoprune.errors import UsageError
from autoprune.evaluation.continuations import side_by_side
from autoprune.memory import peak_rss_mb
from autoprune.models.pushing import check_push
from autoprune.models.record import source_record
from autoprune.models.target import check_target
from flows.naming import run_name
from flows.params.fields import listed
from flows.prune.params import PruneParams
from flows.prune.scheme import prune_by_scheme
from flows.prune.text import pruning_text
from flows.terminal import console
from tasks.allocation import choose_allocation, split_windows
from tasks.calibrate import cut_windows, load_model
from tasks.card import write_folder_card
from tasks.prune import (
    check_request,
    prune_model,
    save_checkpoint,
    saved_record,
    send_folder,
)
from tasks.quality import choose_preset, perplexity_on
from tasks.results import show_estimate, show_pruning
from tasks.samples import sample_text
from tasks.state import State, model_slug
from tasks.stream import estimate_stream, open_source, prune_stream
from tasks.switches import computing_on
from tasks.workbench import Workbench, opened

NAME = run_name("prune", PruneParams, lambda params: model_slug(params.model))


@flow(name="prune", flow_run_name=NAME, persist_result=False)
def prune(params: PruneParams = PruneParams()) -> dict[str, Any]:  # noqa: B008 (frozen)
    """Prune a model with one metric and save it."""
    started = time.monotonic()
    with computing_on(params.device):
        record = _sent(params, _pruned(params))
    record |= {"seconds": time.monotonic() - started, "peak_rss_mb": round(peak_rss_mb(), 1)}
    console.screen().outcome(pruning_text(record, params).splitlines())
    return record


def _pruned(params: PruneParams) -> dict[str, Any]:
    """Prune, save and show the result; return the record."""
    held_out = listed(params.held_out)
    if params.out is not None and not params.dry_run:
        read = (params.program or params.metric, params.corpus, *held_out)
        check_target(params.out, params.model, read, overwrite=params.overwrite)
    if params.push_to_hub is not None:
        # Once more than in the command: a run of the worker has another machine's token.
        check_push(params.push_to_hub)
    if params.scheme is not None:
        record = prune_by_scheme(params)
        show_pruning(State.open(), record, params.measured_by)
        return record
    streams = params.stream or params.dry_run
    # A preset's parts are known to be good; which, when the model is.
    request = None if params.by_preset else _request(params)
    grid = None if request is None else request.grid
    if streams and grid:
        raise UsageError(
            "allocation 'auto' measures the whole model, which streaming never holds; choose "
            "once without --stream, then name the allocation it found"
        )
    if held_out and grid:
        raise UsageError(
            "allocation 'auto' splits its text by itself and takes no --held-out; leave one out"
        )
    memory = "float32" if params.dtype == "auto" else params.dtype
    bench = Workbench(params.model, State.open(), params.seed, console.report, dtype=memory)
    with opened(bench):
        if streams:
            model = open_source(bench, params.model, params.prunes_by, params.statistics)
        else:
            model = load_model(bench, params.model)
        chosen: dict[str, Any] = {}
        if params.by_preset:
            params, chosen = _chosen(bench, params)
        if request is None:
            request = _request(params)
        plan = replace(request.plan, seed=params.seed)
        fresh, metric = plan.repair.fresh_windows, request.metric
        cut = params.corpus, params.windows, params.seqlen
        measures = None
        text: CutText | None = None
        notes: list[str] = []
        statistics = params.statistics
        allocation = params.allocation
        if request.grid:
            both_parts = split_windows(bench, *cut, params.seed, fresh)
            text = both_parts.calibration
            found = choose_allocation(bench, metric, plan, request.grid)
            allocation = found.choice.best
            plan = replace(plan, allocation=build_allocator(allocation))
            parted = {"selection": both_parts.selection.to_json(), "split": both_parts.split}
            chosen["allocation_choice"] = found.to_json() | parted
        elif chosen and not held_out:
            text, measures, notes = _text_to_measure(bench, cut, params.seed, fresh)
        elif not (chosen or streams or request.reads_text):
            # Without text there are no blocks to run: the scores are the same in any order.
            statistics = "dense"
            if options := params.text_options:
                notes = [f"no text is read by {metric}, so that {options} changed nothing"]
        else:
            text = cut_windows(bench, CALIBRATION, *cut, held_out, fresh)
            if chosen:
                notes = [
                    "no perplexity was measured: --held-out names the texts that figures are for"
                ]
        record = chosen | source_record(params.model, model["digest"], params.seed)
        record |= {
            "metric": metric,
            "allocation": allocation,
            "group": plan.group,
            "pattern": params.pattern,
            "solver": params.repair,
            "target": plan.sparsity,
            "notes": [*(text.notes if text else ()), *notes],
            "dtype": memory,
            "dtype_asked": params.dtype,
            "held_out": params.held_out,
            "out": None,
            "perplexity": None,
        }
        if text is not None:
            record |= text.record
        pruning = bench, metric, CALIBRATION, plan
        if params.dry_run:
            cost = estimate_stream(*pruning, params.statistics, params.out)
            record["estimate"] = cost
            show_estimate(record)
            return record
        if streams:
            out = str(params.out)
            made = prune_stream(*pruning, params.statistics, out, record)
        else:
            dense = perplexity_on(bench, measures) if measures else None
            shown = next((n for n in (SELECTION, CALIBRATION) if n in bench.windows), "")
            written = sample_text(bench, shown) if params.out and shown else []
            made = prune_model(*pruning, statistics, params.dtype).to_json()
            if measures:
                made["perplexity"] = {
                    "dense": dense,
                    "pruned": perplexity_on(bench, measures),
                    "windows": len(bench.windows[measures]),
                    "seqlen": params.seqlen,
                }
            if written:
                both = side_by_side(written, sample_text(bench, shown))
                record["writes"] = {"part": shown, "samples": both}
        record |= made | {"notes": record["notes"] + made["notes"]}
        if params.out is not None and not streams:
            record["notes"] += filter(None, [rounding_note(bench, params.dtype)])
            record |= saved_record(save_checkpoint(bench, params.out, record, params.dtype))
    if record["out"]:
        record["size"] = write_folder_card(str(record["out"]), params.model, record)["size"]
    show_pruning(State.open(), record, params.measured_by)
    return record


def _sent(params: PruneParams, record: dict[str, Any]) -> dict[str, Any]:
    """Return the record, with the commit's address if the folder is sent to a hub."""
    if params.push_to_hub is None:
        return record
    console.screen().event(f"send {record['out']} to {params.push_to_hub}")
    return record | {"commit": send_folder(record["out"], params.push_to_hub, params.private)}


def _request(params: PruneParams) -> PruneRequest:
    return check_request(
        params.prunes_by,
        params.group,
        params.share,
        params.pattern,
        params.allocation,
        params.repair,
        params.statistics,
    )


def _chosen(bench: Workbench, params: PruneParams) -> tuple[PruneParams, dict[str, Any]]:
    """Return the parameters with a preset's recipe, and the choice for the record."""
    wanted = params.quality, params.minutes, params.calibration_windows
    found = choose_preset(bench, params.model, params.seqlen, *wanted)
    for line in found.lines:
        console.screen().event(line)
    whole = params.model_copy(update={**found.fields, "quality": None, "minutes": None})
    return whole, {"preset": found.choice}


def _text_to_measure(
    bench: Workbench, cut: tuple[str, int, int], seed: int, fresh: int
) -> tuple[CutText, str | None, list[str]]:
    """Return the calibration text, the name of the windows to measure on, or why there are none."""
    try:
        return split_windows(bench, *cut, seed, fresh).calibration, SELECTION, []
    except UsageError as error:
        text = cut_windows(bench, CALIBRATION, *cut, None, fresh)
        return text, None, [f"no perplexity was measured against the dense one: {error}"]
