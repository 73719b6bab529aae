"""Tasks that prune a model from its shards to new shards, and estimate the cost beforehand."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from autoprune.bench.program_limits import limits_of
from autoprune.bench.seen import seen_by
from autoprune.bench.text import CALIBRATION
from autoprune.candidate import Candidate, CandidateRejectedError
from autoprune.metrics import build_metric
from autoprune.models.saving import SavedModel
from autoprune.program_files import is_program
from autoprune.pruning import PruningPlan
from autoprune.storage import nearest_folder
from autoprune.streaming import StreamJob, estimate, prune_streamed, streamed_source
from tasks.programs import SandboxPrograms, program_record, turned_away
from tasks.prune import saved_record
from tasks.recorded import task_run
from tasks.workbench import Workbench

open_source = task_run("open source", "open {bench.model_ref}")(streamed_source)


@task_run("estimate", "estimate streaming with {metric}")
def estimate_stream(
    bench: Workbench,
    metric: str,
    plan: PruningPlan,
    out: str | None,
) -> dict[str, Any]:
    """Estimate memory, disk and time of a streamed run."""
    base = Path(out).absolute().parent if out else Path(tempfile.gettempdir())
    with _ready(bench, metric, plan) as (job, _):
        cost = estimate(job, nearest_folder(base))
    return {
        "memory_mb": cost.memory_bytes / 1e6,
        "disk_mb": cost.disk_bytes / 1e6,
        "seconds": cost.seconds,
        "memory_parts_mb": {name: size / 1e6 for name, size in cost.parts.items()},
    }


@task_run("stream", "stream with {metric} to {out}")
def prune_stream(
    bench: Workbench,
    metric: str,
    plan: PruningPlan,
    out: str,
    record: dict[str, Any],
) -> tuple[SavedModel, dict[str, Any]]:
    """Prune from shards to shards; see :func:`autoprune.streaming.prune_streamed`."""
    seen = seen_by(bench)
    with _ready(bench, metric, plan) as (job, more):
        known = record | more
        made = prune_streamed(job, Path(out), record=known, seen=seen, report=bench.report)
    inside = job.plan.scoring == "true-sequential"
    return made.saved, more | {
        **saved_record(made.saved),
        **made.to_json(),
        "statistics": "streamed true-sequential" if inside else "streamed",
        "resumed": made.resumed,
        "seconds_pruning": made.seconds,
    }


@contextmanager
def _ready(
    bench: Workbench, metric: str, plan: PruningPlan
) -> Iterator[tuple[StreamJob, dict[str, Any]]]:
    """Set up the job, with a runner if it uses a program, and the record of that program."""
    program = Candidate.parse(metric) if is_program(metric) else None
    by = program or build_metric(metric)
    job = StreamJob(bench.source.folder, bench.windows[CALIBRATION], by, plan)
    if program is None:
        yield job, {}
        return
    limits = limits_of(job.open().skeleton.linears)
    with SandboxPrograms(bench.state.inputs, "stream", lambda: limits) as runner:
        try:
            runner.require(program)
            yield replace(job, runner=runner), {"program": program_record(program, metric, limits)}
        except CandidateRejectedError as error:
            raise turned_away(metric, error) from error
