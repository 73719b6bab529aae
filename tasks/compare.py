"""Tasks of a comparison: prepare it, measure one cell, write the tables."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoprune.comparison import preparing
from autoprune.comparison.measure_cells import cell_measured
from autoprune.comparison.record import body_of
from autoprune.comparison.request import Request, parse_request
from autoprune.comparison.writing import require_replaceable, write_all
from autoprune.models.reference import read_from
from autoprune.targets import check_apart
from tasks.compare_bench import CompareBench
from tasks.recorded import recorded, task_run

if TYPE_CHECKING:
    from autoprune.comparison.plan import Cell

check_comparison = task_run("check comparison", "check methods")(parse_request)


def check_output(folder: str, model: str, *, overwrite: bool = False) -> None:
    """Refuse a folder whose files would be lost, before anything is loaded."""
    place = Path(folder)
    check_apart(place, [read_from(model)], may_hold=True)
    require_replaceable(place, model, overwrite=overwrite)


def prepare_comparison(bench: CompareBench, request: Request) -> dict[str, Any]:
    """See :func:`autoprune.comparison.preparing.prepare_comparison`."""
    work = preparing.prepare_comparison
    prepared = recorded("prepare comparison", f"prepare {bench.model_ref}", work)
    return prepared(bench, request)


def measure_cell(bench: CompareBench, cell: "Cell") -> dict[str, Any]:
    """See :func:`autoprune.comparison.measure_cells.cell_measured`."""
    return recorded("measure cell", cell.title, cell_measured)(bench, cell)


def write_comparison(bench: CompareBench, folder: str, outline: dict[str, Any]) -> dict[str, Any]:
    """Turn records into rows and advice, and write all forms of the table."""
    return recorded("write comparison", f"write {folder}", _written)(bench, folder, outline)


def _written(bench: CompareBench, folder: str, outline: dict[str, Any]) -> dict[str, Any]:
    body = body_of(bench, outline)
    made = write_all(Path(folder), body)
    bench.table = made | {name: body[name] for name in ("dense", "cells")}
    return made | ({"record": str(bench.record)} if bench.record is not None else {})
