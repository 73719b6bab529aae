"""Tasks that prune the model on a workbench and save it."""

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoprune.bench.calibration import DocumentDraws
from autoprune.bench.program_limits import ProgramLimits, limits_of
from autoprune.bench.prune_request import PruneRequest
from autoprune.bench.saving import AUTO, save_bench, saved_type
from autoprune.bench.scoring import OFFERED, CandidateRejectedError
from autoprune.bench.text import CALIBRATION
from autoprune.candidate import Candidate
from autoprune.models.pushing import push_to_hub
from autoprune.models.saving import weights_in_memory
from autoprune.program_files import in_file, is_program, metric_source
from autoprune.pruning import PruningPlan
from sandbox.screen import PROGRAM, entry_of, screen
from tasks.programs import SandboxPrograms, program_record, turned_away
from tasks.recorded import task_run
from tasks.sandbox_scorer import SandboxScorer
from tasks.workbench import Workbench

if TYPE_CHECKING:
    from autoprune.models.saving import SavedModel


@task_run("check request", "check {metric}")
def check_request(
    metric: str,
    group: str,
    sparsity: float | None,
    pattern: str,
    allocation: str,
    repair: str,
    statistics: str,
    streams: bool = False,
) -> PruneRequest:
    """Check every name of a request, and have a program pass the sandbox's static screen."""
    asked = group, sparsity, pattern, allocation, repair, statistics
    request = PruneRequest.build(metric, *asked, streams=streams)
    if is_program(metric):
        program = Candidate.parse(metric)
        refusal = screen(program.source, entry_of(program.source, PROGRAM))
        if refusal is not None:
            error = CandidateRejectedError(str(refusal.code), refusal.detail)
            raise turned_away(metric, error)
    return request


@task_run("prune", "prune with {metric}")
def prune_model(
    bench: Workbench,
    metric: str,
    plan: PruningPlan,
    dtype: str = AUTO,
) -> dict[str, Any]:
    """Prune the workbench's model in place; return what its record says of that."""
    built = replace(plan, saved=saved_type(bench, dtype))
    if in_file(metric):
        metric = str(Path(metric))
        candidate = Candidate("python", metric_source(Path(metric)))
    else:
        candidate = Candidate.parse(metric)
    try:
        with _container(bench, candidate, built), bench.for_good():
            outcome = bench.prune_by(candidate, built, 0)
    except CandidateRejectedError as error:
        raise turned_away(metric, error) from error
    count = weights_in_memory(bench.loaded.model, bench.layers)
    record = outcome.to_json() | {
        **count.to_json(),
        "recount": count.recount(outcome.zeros),
        "statistics": built.scoring,
        "seconds": outcome.seconds,
        "seconds_pruning": outcome.seconds,
    }
    if candidate.kind == "program":
        record |= outcome.by_program(program_record(candidate, metric, _limits(bench, candidate)))
    else:
        record |= outcome.by_code(candidate, Path(metric).name)
    return record


@contextmanager
def _container(bench: Workbench, candidate: Candidate, plan: PruningPlan) -> Iterator[None]:
    """Give the bench the containers in which designed code runs until the context ends."""
    inputs = bench.state.inputs
    with ExitStack() as stack:
        if candidate.kind == "python":
            # It is used three times in all.
            scorer = stack.enter_context(closing(SandboxScorer(inputs, "prune", warm=1)))
            scorer.probe(candidate)
            bench.scorer = scorer
            # One pass of the model for what the code and the rest of the plan read.
            bench.calibration = DocumentDraws(OFFERED | plan.needs)
        elif candidate.kind == "program":
            limits = _limits(bench, candidate)
            runner = stack.enter_context(SandboxPrograms(inputs, "prune", lambda: limits))
            runner.require(candidate)
            bench.programs = runner
        yield


def _limits(bench: Workbench, program: Candidate) -> ProgramLimits:
    text = bench.windows[CALIBRATION]
    return limits_of(bench.layers, len(text), text.shape[1], program.source)


@task_run("save", "save to {out}")
def save_checkpoint(bench: Workbench, out: str, record: dict[str, Any], dtype: str) -> "SavedModel":
    """Save the workbench's model with its record, and count the zeros in the written files."""
    kind = saved_type(bench, dtype)
    return save_bench(bench, Path(out), record, record.get("pruned"), kind)


@task_run("send", "send {folder} to {repo}")
def send_folder(folder: str, repo: str, private: bool) -> str:
    """Send a saved model with its card and record; see :func:`push_to_hub`."""
    return push_to_hub(repo, Path(folder), private=private)


def saved_record(saved: "SavedModel") -> dict[str, Any]:
    """JSON form of what was saved."""
    return {"out": str(saved.folder), **saved.to_json()}
