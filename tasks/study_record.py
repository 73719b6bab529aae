"""Task that writes a study's results: Parquet, JSON, and a run in MLflow."""

import logging
from pathlib import Path
from typing import Any

from tasks.keep_evaluation import figures
from tasks.policies import step
from tasks.provenance import commit, machine
from tasks.state import State, model_slug
from tasks.study import read_cell, study_folder

log = logging.getLogger(__name__)

_LABELS = ("model", "scheme", "ratio", "policy", "id")


@step("write study", "write {name}")
def write_study(
    root: str, name: str, params: dict[str, Any], cells: list[dict[str, Any]]
) -> dict[str, Any]:
    """Write ``results.parquet`` and ``study.json``, and mirror them into MLflow.

    Args:
        root: The state folder.
        name: Name of the study.
        params: Settings of the study.
        cells: One entry per cell; see :func:`tasks.study.fill_subject`.

    Returns:
        The cells with their rows, the files' folder, MLflow's run id or why there is none.
    """
    from autoprune.storage import write_json

    state = State.open(Path(root))
    folder = study_folder(state, name)
    full = [cell | {"rows": _rows(folder, cell)} for cell in cells]
    _write_table(full, folder / "results.parquet")
    write_json(folder / "study.json", {"name": name, "params": params, "cells": cells})
    record: dict[str, Any] = {"folder": str(folder), "mlflow_run": None, "error": ""}
    try:
        from tasks.mirror import tracker_of
        from tasks.track.stages import log_stage

        files = folder / "mirrored"
        files.mkdir(exist_ok=True)
        for file in ("results.parquet", "study.json"):
            (files / file).write_bytes((folder / file).read_bytes())
        record["mlflow_run"] = log_stage(
            tracker_of(state), "study", f"study-{model_slug(name)}", name,
            params=params, metrics=_metrics(full),
            tags={f"version.{key}": value for key, value in machine().items()} | commit(),
            folder=files,
        )  # fmt: skip
    except Exception as error:
        # The files are the record: whatever the store's trouble is, the results stand.
        log.info("mirroring failed", exc_info=True)
        record["error"] = " ".join(str(error).split())[:200] or type(error).__name__
    shown = [{**cell, "rows": [_short(row) for row in cell["rows"]]} for cell in full]
    return record | {"cells": shown}


def _rows(folder: Path, cell: dict[str, Any]) -> list[dict[str, Any]]:
    if cell["status"] == "ok":
        return read_cell(str(folder), cell["id"])
    return [
        {
            "suite": cell["suite"], "name": "-", "metric": "-", "value": None, "unit": "",
            "status": "unavailable", "reason": cell["reason"], "interval": None, "items": [],
            "protocol": {"settings": cell["settings"]}, "provenance": {}, "details": {},
        }
    ]  # fmt: skip


def _write_table(cells: list[dict[str, Any]], path: Path) -> None:
    from autoprune.evaluation.suites.rows import Row
    from autoprune.evaluation.suites.table import write_rows

    pairs = [
        ({key: cell[key] for key in _LABELS}, Row.from_json(row))
        for cell in cells
        for row in cell["rows"]
    ]
    write_rows([row for _, row in pairs], path, [label for label, _ in pairs])


def _metrics(cells: list[dict[str, Any]]) -> dict[str, float]:
    found: dict[str, float] = {}
    for cell in cells:
        where = f"{model_slug(cell['model'])}/{cell['scheme']}/{cell['ratio']:g}/{cell['policy']}"
        found |= {f"{where}/{key}": value for key, value in figures(cell["rows"]).items()}
    return {key: value for key, value in found.items() if not key.endswith((" low", " high"))}


def _short(row: dict[str, Any]) -> dict[str, Any]:
    """A row without its items, which lie in the Parquet file."""
    return {key: value for key, value in row.items() if key not in ("items", "provenance")}
