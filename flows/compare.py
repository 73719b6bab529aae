"""The comparison flow: methods x budgets x calibration draws, one task a cell."""

import threading
import uuid
from pathlib import Path
from typing import Any

from prefect import flow

from autoprune.errors import AutopruneError
from flows import console
from flows.compare_params import CompareParams
from flows.compare_run import Run
from flows.naming import run_name
from flows.runners import workers
from tasks.compare import check_comparison, prepare_comparison, write_comparison
from tasks.compare_bench import CompareBench
from tasks.compare_mirror import mirror_comparison
from tasks.compare_remote import comparison_sheet
from tasks.shared import open_store
from tasks.state import State, model_slug
from tasks.workbench import opened

# A comparison that is stopped has this long for its last words to MLflow; the files have all.
STOP_SECONDS = 4.0

NAME = run_name("compare", CompareParams, lambda params: model_slug(params.model))


@flow(name="compare", flow_run_name=NAME, persist_result=False)
def compare(params: CompareParams = CompareParams()) -> dict[str, Any]:  # noqa: B008 (frozen)
    """Compare pruning methods on one model and say which to take."""
    state = State.open()
    request = check_comparison(params.method_texts(), params.statistics, *params.budgets())
    bench_id = f"compare-{uuid.uuid4().hex[:12]}"
    bench = CompareBench(
        bench_id,
        params.model,
        state,
        params.seed,
        console.report,
        corpus=params.corpus,
        samples=params.samples,
        seqlen=params.seqlen,
        counts={"selection": params.selection_windows, "sealed": params.windows},
        peers=params.peers(),
    )
    bench.store = open_store(state, params.shared_store)
    folder = Path(params.output or state.comparison / params.folder_name()).absolute()
    with opened(bench):
        console.screen().mute(console.INNER_STAGES | {"statistics", "pruning", "cells"})
        protocol = prepare_comparison(
            bench_id, params.model, request["methods"], request["targets"], params.draws()
        )
        run = Run(bench_id, request, params.draws(), params.trials())
        outline = {"model": params.model, "tune": params.trials(), "protocol": protocol}
        place = (params.runner, params.workers, params.runner_address)
        with workers(*place, comparison_sheet(bench, params.shared_store)) as run.workers:
            run.parallel = params.workers if run.workers and not params.runner_address else 1
            try:
                run.all_cells()
            except BaseException as error:
                # Whatever ends the run, Ctrl-C too: what is finished becomes a table.
                run.collect()
                if run.dense is not None:
                    _write(run, outline, folder)
                    status = "FAILED" if isinstance(error, AutopruneError) else "KILLED"
                    _last_words(params, state, folder, status)
                raise
            result = _write(run, outline, folder)
    done = mirror_comparison(*_mirrored(params, state, folder, "FINISHED"))
    if done["error"]:
        console.screen().event(
            f"MLflow has no record of this comparison ({done['error']}); its files are complete, "
            "and the same command writes it once MLflow answers"
        )
    counts = {"measured": run.measured, "cached": run.cached, "failed": run.failed}
    return result | counts | {"mlflow_run": done["mlflow_run"]}


def _write(run: Run, outline: dict[str, Any], folder: Path) -> dict[str, Any]:
    body = {"dense": run.dense, "planned": len(run.plan), "cells": run.finished()}
    return write_comparison(run.bench_id, str(folder), outline | body)


def _mirrored(params: CompareParams, state: State, folder: Path, status: str) -> tuple[Any, ...]:
    peer = None if params.peer is None else ",".join(params.peers())
    settings = params.settings() | {"peer": peer}
    return str(state.root), params.model, str(folder), settings, status


def _last_words(params: CompareParams, state: State, folder: Path, status: str) -> None:
    """Tell MLflow of a comparison that ended early, in seconds; no task run is made for it."""
    words = _mirrored(params, state, folder, status)
    last = threading.Thread(target=mirror_comparison.fn, args=words, daemon=True)
    last.start()
    last.join(STOP_SECONDS)
