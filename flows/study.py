"""The study flow: every model, pruned in every way, by every suite; resumable cell by cell."""

import logging
import time
import uuid
from typing import Any

from prefect import flow

from flows import console
from flows.study_params import StudyModel, StudyParams
from tasks.calibrate import load_model
from tasks.state import State
from tasks.study import (
    check_study,
    fill_subject,
    prepare_texts,
    unavailable_cells,
)
from tasks.study_cells import study_folder
from tasks.study_record import write_study
from tasks.workbench import Workbench, opened

log = logging.getLogger(__name__)

SELF_GENERATED = "self-generated"


@flow(name="study", flow_run_name="study-{params.name}", persist_result=False)
def study(params: StudyParams = StudyParams()) -> dict[str, Any]:  # noqa: B008 (frozen)
    """Fill the matrix; a cell is a result, or says why there is none."""
    started = time.monotonic()
    refs = [model.ref for model in params.models]
    request = check_study(
        params.name, refs, params.schemes, params.ratios, params.suites, list(params.calibration)
    )
    state = State.open()
    cells: list[dict[str, Any]] = []
    texts: dict[str, dict[str, Any]] = {}
    for model in params.models:
        mine = [entry for entry in request["subjects"] if entry["model"] == model.ref]
        filled, texts[model.ref] = _one_model(params, state, model, mine, request["suites"])
        cells += filled
    done = write_study(str(state.root), params.name, params.to_json(), cells, texts)
    if done["error"]:
        console.screen().event(f"MLflow has no record of this study: {done['error']}")
    counts = {
        "cells_total": len(cells),
        "results": sum(cell["status"] == "ok" for cell in cells),
        "unavailable": sum(cell["status"] != "ok" for cell in cells),
        "cached": sum(cell["cached"] for cell in cells),
    }
    return {"name": params.name, **counts, **done, "seconds": time.monotonic() - started}


def _one_model(
    params: StudyParams,
    state: State,
    model: StudyModel,
    subjects: list[dict[str, Any]],
    suites: list[dict[str, Any]],
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The cells of one model, and what its calibration texts are."""
    bench_id = f"study-{uuid.uuid4().hex[:12]}"
    bench = Workbench(bench_id, model.ref, state, params.seed, console.report, dtype=params.dtype)
    texts: dict[str, str | None] = {
        "generic": params.generic,
        "aligned": model.own_data,
        SELF_GENERATED: SELF_GENERATED,
    }
    wanted: dict[str, str | None] = {policy: texts[policy] for policy in params.calibration}
    folder = str(study_folder(state, params.name))
    cells: list[dict[str, Any]] = []
    with opened(bench):
        try:
            load_model(bench_id, model.ref)
        except Exception as error:
            # Whatever one model raises, the others are still measured; it is tried again.
            log.info("model failed", exc_info=True)
            cells = unavailable_cells(subjects, suites, error)
            console.screen().event(f"{model.ref} unavailable: {cells[0]['reason']}")
            return cells, {}
        found = prepare_texts(
            bench_id, model.ref, wanted, params.calibration_windows, params.seqlen
        )
        for subject in subjects:
            title = f"{subject['scheme']} {subject['ratio']:g} {subject['policy']}"
            filled = fill_subject(bench_id, title, folder, subject, found, suites, params.seed)
            cells += filled
            console.screen().event(f"{title}: {_states(filled)}")
    return cells, found


def _states(cells: list[dict[str, Any]]) -> str:
    return ", ".join(
        f"{cell['suite']} {'kept from before' if cell['cached'] else cell['status']}"
        for cell in cells
    )
