"""``autoprune inspect``: what a model's matrices look like, and what pruning each alone costs."""

import argparse
from pathlib import Path
from typing import Any

from autoprune.bench.inspection import Inspection, inspect_model
from autoprune.errors import AutopruneError
from autoprune.report.inspection_plot import inspection_png
from autoprune.storage import atomic_file, write_json
from flows.inspect.grammar import JSON_FILE
from flows.inspect.params import InspectParams
from flows.terminal.console import open_screen, report
from flows.terminal.output import emit, plain, tell
from tasks.in_use import reading_caches
from tasks.state import State

PICTURE = "inspection.png"
# What decides the figures, besides what they are of.
SETTINGS = ("dtype", "seqlen", "calibration_windows", "selection_windows", "device")


def run(args: argparse.Namespace, params: InspectParams) -> int:
    """Inspect, write the requested files, and print the tables."""
    out = None if params.out is None else Path(params.out).expanduser()
    state = State.open()
    with open_screen(quiet=args.quiet), reading_caches(state):
        found = inspect_model(
            params.model,
            corpus=params.corpus,
            sparsity=params.sparsity,
            layers=params.layers,
            seqlen=params.seqlen,
            calibration_windows=params.calibration_windows,
            selection_windows=params.selection_windows,
            cache=state.store,
            report=report,
            dtype=params.dtype,
        )
    settings = params.model_dump(include={*SETTINGS})
    record: dict[str, Any] = found.to_json() | settings
    record["out"] = None if out is None else str(out)
    if out is not None:
        try:
            _write(out, found, settings)
        except (OSError, AutopruneError):
            # What took minutes is not lost with the files.
            tell(_text(found, None))
            raise
    emit(args, record, _text(found, record["out"]))
    return 0


def _write(out: Path, found: "Inspection", settings: dict[str, Any]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    with atomic_file(out / PICTURE) as temporary:
        temporary.write_bytes(inspection_png(found))
    write_json(out / JSON_FILE, plain(found.to_json()) | settings)


def _text(found: "Inspection", out: str | None) -> str:
    head = (
        f"{'matrix':<{_width(found)}}  {'shape':>13}  skew  kurtosis  score skew  outliers  "
        "rank  alpha   alone"
    )
    lines = [
        f"dense loss {found.loss:.4f} nats per token on {found.windows} selection windows of "
        f"{found.corpus}; what is pruned loses {found.sparsity:.0%} by Wanda's scores",
        "",
        head,
    ]
    for matrix in found.matrices:
        alone = "" if matrix.damage is None else f"{matrix.damage:+.4f}"
        lines.append(
            f"{matrix.name:<{_width(found)}}  {'x'.join(map(str, matrix.shape)):>13}  "
            f"{matrix.skew:4.2f}  {matrix.kurtosis:8.2f}  {matrix.score_skew:10.2f}  "
            f"{matrix.outliers:8.3%}  {matrix.effective_rank:4.0%}  {matrix.alpha:5.2f}  {alone:>6}"
        )
    lines += ["", *found.facts]
    if out is not None:
        lines += ["", f"saved  {out}"]
    return "\n".join(line.rstrip() for line in lines)


def _width(found: "Inspection") -> int:
    return max(len(matrix.name) for matrix in found.matrices)
