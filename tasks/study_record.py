"""Task that writes a study's results: Parquet, JSON, and runs in MLflow."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoprune.errors import reason_of
from tasks.keep_evaluation import figures
from tasks.policies import step
from tasks.provenance import here_tags
from tasks.state import State, model_slug
from tasks.study_cells import read_cell, study_folder

if TYPE_CHECKING:
    from tasks.track.stages import Part

log = logging.getLogger(__name__)

# What a pruned model of a study is named by.
SUBJECT = ("model", "scheme", "ratio", "policy")
_LABELS = (*SUBJECT, "id")
FILES = ("results.parquet", "study.json")


@step("write study", "write {name}")
def write_study(
    root: str,
    name: str,
    params: dict[str, Any],
    cells: list[dict[str, Any]],
    texts: dict[str, dict[str, Any]],
) -> dict[str, Any]:
    """Write ``results.parquet`` and ``study.json``, and mirror them into MLflow.

    Args:
        root: The state folder.
        name: Name of the study.
        params: Settings of the study.
        cells: One entry per cell; see :func:`tasks.study.fill_subject`.
        texts: By model what :func:`tasks.study.prepare_texts` returned.

    Returns:
        The cells with their rows, the files' folder, MLflow's run id or why there is none; digests
        of the calibration texts and of the splits that were measured on, notes about them, and how
        often each sealed text was looked at so far.
    """
    from autoprune.storage import write_json

    state = State.open(Path(root))
    folder = study_folder(state, name)
    full = [cell | {"rows": _rows(folder, cell)} for cell in cells]
    _write_table(full, folder / "results.parquet")
    facts = {
        "texts": texts,
        "splits": _splits(full),
        "sealed_touches": _looks(cells),
        "notes": _notes(texts),
    }
    write_json(folder / "study.json", {"name": name, "params": params, "cells": cells, **facts})
    record: dict[str, Any] = {"folder": str(folder), "mlflow_run": None, "error": "", **facts}
    try:
        from tasks.mirror import require_answer

        require_answer(state.tracking_uri, patient=True)
        record["mlflow_run"] = _mirror(state, name, params, full, folder)
    except Exception as error:
        # The files are the record: whatever the store's trouble is, the results stand.
        log.info("mirroring failed", exc_info=True)
        record["error"] = reason_of(error)
    shown = [{**cell, "rows": [_short(row) for row in cell["rows"]]} for cell in full]
    return record | {"cells": shown}


def _splits(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Text, part, seed and digest of every split that was measured on; none twice."""
    found: list[dict[str, Any]] = []
    for row in (row for cell in cells for row in cell["rows"]):
        split = row["details"].get("split")
        entry = {"text": row["name"], **split} if split else None
        if entry is not None and entry not in found:
            found.append(entry)
    return found


def _looks(cells: list[dict[str, Any]]) -> dict[str, int]:
    """Looks so far by sealed text, as the last fresh cell counted them."""
    found: dict[str, int] = {}
    for cell in cells:
        for text, times in cell["looks"].items():
            found[text] = max(times, found.get(text, 0))
    return found


def _notes(texts: dict[str, dict[str, Any]]) -> list[str]:
    """What a reader must know about the calibration texts, once each."""
    return list(
        dict.fromkeys(
            note
            for policies in texts.values()
            for text in policies.values()
            for note in text.get("notes", [])
        )
    )


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


def _mirror(
    state: State, name: str, params: dict[str, Any], cells: list[dict[str, Any]], folder: Path
) -> str:
    """One run for a study of these settings, and one below it for each pruned model."""
    from autoprune.digest import digest_json
    from tasks.mirror import tracker_of
    from tasks.track.stages import log_stage

    # Parameters of a run never change, so a study that grew is a run of its own.
    run = f"{name}-{digest_json(params)[:8]}"
    states = [cell["status"] for cell in cells]
    counts = {
        "cells_total": float(len(states)),
        "cells_unavailable_total": float(sum(state != "ok" for state in states)),
    }
    return log_stage(
        tracker_of(state), "study", f"study-{model_slug(name)}", run,
        params=params, metrics=counts, parts=subject_parts(cells),
        tags=here_tags(),
        files=[folder / file for file in FILES],
    )  # fmt: skip


def subject_parts(cells: list[dict[str, Any]]) -> "list[Part]":
    """Child runs of a study: a model pruned in one way, with its figures of all suites.

    Args:
        cells: One entry per cell with its rows.
    """
    grouped: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for cell in cells:
        grouped.setdefault(tuple(cell[key] for key in SUBJECT), []).append(cell)
    return [_part(dict(zip(SUBJECT, key, strict=True)), mine) for key, mine in grouped.items()]


def _part(subject: dict[str, Any], cells: list[dict[str, Any]]) -> "Part":
    from tasks.track.stages import Part

    title = f"{model_slug(subject['model'])} {subject['scheme']} {subject['ratio']:g}"
    lacking = {cell["suite"]: cell["reason"] for cell in cells if cell["status"] != "ok"}
    reached = "ok" if not lacking else "partly" if len(lacking) < len(cells) else "unavailable"
    tags = {"autoprune.status": reached}
    tags |= {f"unavailable.{suite}": reason for suite, reason in lacking.items()}
    found = figures([row for cell in cells for row in cell["rows"]])
    return Part(
        " ".join(str(value) for value in subject.values()),
        f"{title} {subject['policy']}",
        params=subject,
        metrics=found,
        tags=tags | {f"cell.{cell['suite']}": cell["id"] for cell in cells},
    )


def _short(row: dict[str, Any]) -> dict[str, Any]:
    """A row without its items, which lie in the Parquet file."""
    return {key: value for key, value in row.items() if key not in ("items", "provenance")}
