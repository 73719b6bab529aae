"""Tasks that prepare a workbench: the model, the text's windows, the statistics."""

import time
from collections.abc import Mapping
from typing import Any

from autoprune.bench import cut_text
from autoprune.bench.calibration import StoredStatistics
from autoprune.bench.text import CALIBRATION
from autoprune.models.reference import ModelSource
from tasks.recorded import recorded, task_run
from tasks.search_bench import SearchBench
from tasks.workbench import Workbench

cut_windows = task_run("cut windows", "cut {count} x {seqlen} tokens of {corpus}")(
    cut_text.cut_windows
)


@task_run("load model", "load {model}")
def load_model(bench: Workbench, model: str) -> ModelSource:
    """Load the workbench's model, and refuse one without layers to prune."""
    bench.layers  # noqa: B018 (finding them loads the model)
    return bench.loaded.source


def calibrate(bench: SearchBench) -> dict[str, Any]:
    """Collect the statistics of a search, or take them from the store by their digest."""

    def work() -> dict[str, Any]:
        started = time.monotonic()
        windows, found = bench.drawn_windows(), bench.calibrated(())
        kept = bench.statistics_of(0)
        return {
            "windows": len(windows),
            "seqlen": windows.shape[1],
            "tokens": found.tokens,
            "documents": len(bench.splits.calibration.documents),
            "statistics": sorted({name for layer in found.layers.values() for name in layer}),
            "digest": found.digest,
            "cached": isinstance(kept, StoredStatistics) and kept.cached,
            "notes": list(found.notes),
            "seconds": time.monotonic() - started,
        }

    return recorded("calibrate", f"calibrate {bench.run_id}", work)()


def calibration_markdown(facts: Mapping[str, Any]) -> str:
    """Format what :func:`calibrate` returns as a table for Prefect's page."""
    rows = [
        ("windows", f"{facts['windows']} of {facts['seqlen']} tokens"),
        ("tokens", f"{facts['tokens']:,}"),
        ("documents", f"{facts['documents']:,} in the {CALIBRATION} part"),
        ("statistics", ", ".join(facts["statistics"])),
        ("digest", f"`{facts['digest']}`"),
        ("source", "cached: from the store" if facts["cached"] else "computed"),
        ("seconds", f"{facts['seconds']:.1f}"),
    ]
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    return "\n\n".join([f"| calibration | |\n|---|---|\n{table}", *facts["notes"]])
