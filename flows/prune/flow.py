"""The pruning flow: one model, one recipe or scheme, one budget, one folder."""

import time
from typing import Any

from prefect import flow

from autoprune.memory import peak_rss_mb
from autoprune.models.pushing import check_push
from autoprune.models.target import check_target
from flows.naming import run_name
from flows.params.fields import listed
from flows.prune.params import PruneParams
from flows.prune.prepared import Prepared, prepare, request_of, workbench
from flows.prune.saving import require_savable_for, sampled, save
from flows.prune.scheme import prune_by_scheme
from flows.prune.text import pruning_text
from flows.terminal import console
from tasks.card import write_folder_card
from tasks.evaluate import evaluate_model
from tasks.prune import prune_model, send_folder
from tasks.results import show_estimate, show_pruning
from tasks.state import State, model_slug
from tasks.stream import estimate_stream, prune_stream
from tasks.switches import computing_on
from tasks.workbench import Workbench, opened

NAME = run_name("prune", PruneParams, lambda params: model_slug(params.model))


@flow(name="prune", flow_run_name=NAME, persist_result=False)
def prune(params: PruneParams = PruneParams()) -> dict[str, Any]:  # noqa: B008 (frozen)
    """Prune a model with one metric and save it."""
    started = time.monotonic()
    with computing_on(params.device):
        record = _pruned(params)
    record |= {"seconds": time.monotonic() - started, "peak_rss_mb": round(peak_rss_mb(), 1)}
    console.screen().outcome(pruning_text(record, params).splitlines())
    return record


def _pruned(params: PruneParams) -> dict[str, Any]:
    """Prune, save, show and send the result; return the record."""
    # Checked again: a worker has its own folders and token.
    if params.out is not None and not params.dry_run:
        read = (params.program or params.metric, params.corpus, *listed(params.held_out))
        check_target(params.out, params.model, read, overwrite=params.overwrite)
    if params.push_to_hub is not None:
        check_push(params.push_to_hub)
    record = _by_recipe(params) if params.scheme is None else prune_by_scheme(params)
    if params.dry_run:
        show_estimate(record)
        return record
    show_pruning(State.open(), record, params.measured_by)
    if params.push_to_hub is None:
        return record
    console.screen().event(f"send {record['out']} to {params.push_to_hub}")
    return record | {"commit": send_folder(record["out"], params.push_to_hub, params.private)}


def _by_recipe(params: PruneParams) -> dict[str, Any]:
    """Prune a model and save it, or estimate what streaming would need; return the record."""
    # A preset's parts are known to be good; which, when the model is.
    request = None if params.by_preset else request_of(params)
    bench = workbench(params)
    with opened(bench):
        ready = prepare(bench, params, request)
        record = ready.record
        work = bench, record["metric"], ready.plan
        if params.dry_run:
            return record | {"estimate": estimate_stream(*work, params.out)}
        if params.streams:
            saved, made = prune_stream(*work, str(params.out), record)
            made["size"] = write_folder_card(saved)
        else:
            made = _in_memory(bench, ready)
        record |= made | {"notes": record["notes"] + made["notes"]}
        if not params.streams:
            save(bench, params, record)
    return record


def _in_memory(bench: Workbench, ready: Prepared) -> dict[str, Any]:
    """Prune the loaded model; return what was done, and what the model does and writes."""
    params, measured_on = ready.params, ready.measured_on
    require_savable_for(bench, params)
    dense = evaluate_model(bench, measured_on).perplexity if measured_on else None
    work = bench, ready.record["metric"], ready.plan
    made: dict[str, Any] = {}
    with sampled(bench, params, made):
        made |= prune_model(*work, params.dtype)
        if measured_on:
            made["perplexity"] = {
                "dense": dense,
                "pruned": evaluate_model(bench, measured_on).perplexity,
                "windows": len(bench.windows[measured_on]),
                "seqlen": params.seqlen,
            }
    return made
