"""Tasks that prune the model on a workbench and save it."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from autoprune.allocation import auto_grid
from autoprune.bench.programs import check_plan, prune_by_program
from autoprune.bench.scoring import OFFERED, CandidateRejectedError
from autoprune.candidate import Candidate, Group
from autoprune.errors import NothingPassedError, UsageError
from autoprune.metrics import build_metric
from autoprune.models.gguf_reading import quantisation
from autoprune.models.pushing import push_to_hub
from autoprune.models.saved_type import checkpoint_type
from autoprune.models.saving import save_model, weights_in_memory
from autoprune.program_files import metric_source
from autoprune.pruning import MetricScore, PruningPlan, prune
from autoprune.repair import Repair
from autoprune.statistics.layer_files import write_layer_files
from autoprune.text.seen_text import FILE as SEEN_FILE
from sandbox.client import Sandbox
from sandbox.limits import Limits
from sandbox.outcomes import Rejected
from sandbox.screen import PROGRAM, entry_of, screen
from tasks.program_limits import limits_of
from tasks.programs import SandboxPrograms, is_program, program_record, turned_away
from tasks.recorded import step
from tasks.sandbox_scores import SandboxScores
from tasks.seen import seen_by
from tasks.workbench import Workbench

if TYPE_CHECKING:
    import torch

    from autoprune.models.saving import SavedModel
    from autoprune.pruning import PruneOutcome

FILE_SUFFIX = ".py"
AUTO = "auto"
BLOCKWISE = ("sequential", "true-sequential")


@step("check request", "check {metric}")
def check_request(
    metric: str,
    group: str,
    sparsity: float | None,
    pattern: str,
    allocation: str,
    solver: str,
    statistics: str,
) -> dict[str, Any]:
    """Check every name of a request before anything expensive happens.

    Returns:
        The group that will be used, and the statistics needed from the dense model.

    Raises:
        UsageError: If a part is unknown or parts contradict each other.
    """
    by_program = is_program(metric)
    in_file = metric.endswith(FILE_SUFFIX) and not by_program
    grid = auto_grid(allocation)
    if grid is not None and by_program:
        raise UsageError(
            "allocation 'auto' prunes many times with scores that are made once, and a program "
            "makes none; name an allocation"
        )
    if grid is not None and in_file:
        raise UsageError(
            f"{metric} is scored once, in the container, and allocation 'auto' prunes with it many "
            "times; name an allocation, or write the metric as a formula (expr:...)"
        )
    program = _screened(metric) if by_program else None
    if in_file:
        metric_source(Path(metric))
    natural: Group = "row" if by_program or in_file else build_metric(metric).group
    chosen: Any = natural if group == AUTO else group
    if in_file and statistics in BLOCKWISE:
        raise UsageError(
            "a metric in a file is scored once, in the container, from statistics of the dense "
            f"model; leave out --statistics {statistics}"
        )
    # A non-uniform one stands for those still to be tried: with N:M there is no choice.
    stands_for = allocation if grid is None else grid[-1]
    plan = PruningPlan.build(
        sparsity, group=chosen, pattern=pattern, allocation=stands_for, solver=solver
    )
    if program is not None:
        scoring: Any = "sequential" if statistics == AUTO else statistics
        check_plan(replace(plan, scoring=scoring), program)
    elif statistics == "true-sequential":
        replace(plan, scoring="true-sequential").refuse_unseen()
    return {"group": chosen, "sparsity": plan.sparsity, "grid": grid}


def reads_text(metric: str, plan: Mapping[str, Any], statistics: str) -> bool:
    """Whether calibration text can change the result, or the given statistics run on it.

    Args:
        metric: As for :func:`prune_model`, like ``plan`` and ``statistics``.
        plan: Arguments of :meth:`autoprune.pruning.PruningPlan.build`.
        statistics: What the user asked for.
    """
    if is_program(metric) or metric.endswith(FILE_SUFFIX) or statistics in BLOCKWISE:
        return True
    return PruningPlan.build(**plan).uses_text(build_metric(metric).needs)


def fresh_windows(repair: str) -> int:
    """Number of windows that a repair reads besides those of statistics and tuning."""
    return Repair.parse(repair).fresh_windows


def _screened(metric: str) -> Candidate:
    """A program that passed the sandbox's static screen; it does not run yet."""
    program = Candidate.parse(metric)
    refusal = screen(program.source, entry_of(program.source, PROGRAM))
    if refusal is not None:
        raise turned_away(metric, CandidateRejectedError(str(refusal.code), refusal.detail))
    return program


@step("prune", "prune with {metric}")
def prune_model(
    bench: Workbench,
    metric: str,
    windows: str,
    plan: dict[str, Any],
    statistics: Literal["auto", "sequential", "true-sequential", "dense"],
    dtype: str = AUTO,
) -> dict[str, Any]:
    """Prune the workbench's model in place.

    Args:
        bench: An open workbench.
        metric: Built-in name, ``expr:`` and a formula, a path to a Python file, or ``program:`` and
            a file or a name.
        windows: Name of the calibration windows.
        plan: Arguments of :meth:`autoprune.pruning.PruningPlan.build`.
        statistics: Whether blocks see pruned or dense blocks before them, and likewise for the
            steps inside a block.
        dtype: As for :func:`save_checkpoint`: in the type that the weights will be saved in, no
            repaired row is worse than plain zeroing.

    Returns:
        Figures of the masks; zeros are counted in the weights, and ``recount`` is a sentence if
        there are more than ``pruned``. With a program also ``program``, its source and limits, and
        ``weights_digest``.

    Raises:
        NothingPassedError: If the sandbox rejects the metric.
    """
    built = replace(PruningPlan.build(**plan), saved=saved_type(bench, dtype))
    in_file = metric.endswith(FILE_SUFFIX) and not is_program(metric)
    if statistics == "auto":
        statistics = "dense" if in_file or built.group == "global" else "sequential"
    built = replace(built, scoring=statistics)
    more: dict[str, Any] = {}
    if is_program(metric):
        outcome, kept = _prune_by_program(bench, metric, windows, built)
        more = {"program": kept, "weights_digest": outcome.weights_digest}
    else:
        prune_by = _prune_by_file if in_file else _prune_by_metric
        outcome = prune_by(bench, metric, windows, built)
    count = weights_in_memory(bench.loaded.model, bench.layers)
    return more | {
        **count.to_json(),
        "pruned": outcome.zeros,
        "recount": count.recount(outcome.zeros),
        "mask_digest": outcome.mask_digest,
        "layer_sparsity": dict(outcome.layer_sparsity),
        "statistics": statistics,
        "notes": list(outcome.notes),
        "seconds": outcome.seconds,
    }


def _prune_by_metric(
    bench: Workbench, metric: str, windows: str, plan: PruningPlan
) -> "PruneOutcome":
    score = MetricScore(build_metric(metric))
    needs = plan.dense_needs(score.needs)
    # Statistics of the dense model alone are in the store; a metric that reads no text has none.
    kept = bench.statistics(windows, needs) if needs and plan.scoring == "dense" else None
    model, tokens = bench.loaded.model, bench.windows.get(windows)
    return prune(
        model,
        score,
        plan,
        windows=tokens,
        fresh=bench.windows.get(f"{windows} fresh"),
        layers=bench.layers,
        statistics=kept,
        report=bench.report,
    )


def _prune_by_file(
    bench: Workbench, metric: str, windows: str, plan: PruningPlan
) -> "PruneOutcome":
    """Prune with scores from the container; the file never runs anywhere else."""
    path = Path(metric)
    source = metric_source(path)
    dense = bench.statistics(windows, OFFERED | plan.needs)
    inputs = bench.state.inputs
    inputs.mkdir(parents=True, exist_ok=True)
    # It is used three times in all.
    limits = Limits(warm=1)
    with Sandbox(inputs=inputs, limits=limits, run_id="prune", statistics=OFFERED) as box:
        answer = box.probe(source)
        if isinstance(answer, Rejected):
            raise _turned_away(path, str(answer.code), answer.detail)
        written = write_layer_files(bench.layers, dense, inputs, names=sorted(OFFERED))
        files = {file.layer_name: file for file in written}
        score = SandboxScores(box, source, {}, files, bench.layers)
        try:
            return prune(
                bench.loaded.model,
                score,
                plan,
                windows=bench.windows[windows],
                fresh=bench.windows.get(f"{windows} fresh"),
                layers=bench.layers,
                statistics=dense,
                report=bench.report,
            )
        except CandidateRejectedError as error:
            raise _turned_away(path, error.code, error.detail) from error


def _prune_by_program(
    bench: Workbench, metric: str, windows: str, plan: PruningPlan
) -> tuple["PruneOutcome", dict[str, Any]]:
    program = Candidate.parse(metric)
    text = bench.windows[windows]
    limits = limits_of(bench.layers, len(text), text.shape[1], program.source)
    with SandboxPrograms(bench.state.inputs, "prune", lambda: limits) as runner:
        try:
            runner.require(program)
            outcome = prune_by_program(
                bench.loaded.model,
                program,
                runner,
                plan,
                windows=text,
                fresh=bench.windows.get(f"{windows} fresh"),
                layers=bench.layers,
                statistics=bench.statistics(windows, plan.needs) if plan.needs else None,
                report=bench.report,
            )
        except CandidateRejectedError as error:
            raise turned_away(metric, error) from error
    record = program_record(program, metric, limits)
    if outcome.block_errors:
        record["block_errors"] = list(outcome.block_errors)
    return outcome, record | {"seconds": outcome.seconds}


def _turned_away(path: Path, code: str, detail: str) -> NothingPassedError:
    return NothingPassedError(
        f"the sandbox rejects {path} ({code}: {detail}); nothing was pruned; change the file and "
        f"try it with `autoprune validate {path}`"
    )


@step("save", "save to {out}")
def save_checkpoint(
    bench: Workbench, out: str, record: dict[str, Any], dtype: str
) -> dict[str, Any]:
    """Save the workbench's model with its record, and count the zeros in the written files.

    Args:
        bench: An open workbench.
        out: Target folder, replaced when it exists; see
            :func:`autoprune.models.target.check_target`.
        record: What made the model, with ``pruned``.
        dtype: ``auto`` saves weights in the type of the checkpoint they came from, anything else
            in the workbench's.

    Raises:
        AutopruneError: If the disk is full or the folder is not writable.
    """
    kind = saved_type(bench, dtype)
    return saved_record(save_bench(bench, Path(out), record, record["pruned"], kind))


@step("send", "send {folder} to {repo}")
def send_folder(folder: str, repo: str, private: bool) -> str:
    """Send a saved model with its card and record; see :func:`push_to_hub`.

    Args:
        folder: Folder of the saved model.
        repo: ``OWNER/NAME``.
        private: Whether a newly created repository is private.

    Returns:
        Address of the commit.
    """
    return push_to_hub(repo, Path(folder), private=private)


def saved_type(bench: Workbench, dtype: str) -> "torch.dtype | None":
    """Type of a bench's weights in files; None: as in memory.

    Args:
        bench: An open workbench.
        dtype: ``auto``: that of the checkpoint they came from; else torch's name of a type.
    """
    import torch

    if dtype != AUTO:
        found: torch.dtype = getattr(torch, dtype)
        return None if dtype == bench.dtype else found
    return checkpoint_type(bench.loaded.source)


def rounding_note(bench: Workbench, dtype: str) -> str:
    """Say that dequantised weights are rounded on saving; empty if they are not.

    Args:
        bench: An open workbench.
        dtype: As for :func:`saved_type`.
    """
    quantised = quantisation(bench.loaded.source)
    if dtype != AUTO or not quantised:
        return ""
    kind = str(saved_type(bench, dtype)).removeprefix("torch.")
    return (
        f"the source is quantised to {quantised}; what is computed from it in {bench.dtype} is "
        f"saved in {kind}, in half the bytes; --dtype {bench.dtype} saves every bit"
    )


def save_bench(
    bench: Workbench,
    folder: Path,
    record: Mapping[str, Any],
    pruned: int | None = None,
    dtype: "torch.dtype | None" = None,
) -> "SavedModel":
    """Save the model as it stands; see :func:`save_checkpoint`.

    Args:
        bench: An open workbench.
        folder: Target folder, replaced when it exists.
        record: What made the model.
        pruned: Number of weights that the masks removed, to compare with the recount.
        dtype: Type of the weights in the files; None: as in memory.
    """
    seen = seen_by(bench)
    more = {} if seen is None else {SEEN_FILE: seen.save}
    model, tokenizer = bench.loaded.model, bench.loaded.tokenizer
    return save_model(model, tokenizer, folder, record, dtype=dtype, pruned=pruned, more=more)


def saved_record(saved: "SavedModel") -> dict[str, Any]:
    """JSON form of what was saved."""
    return {"out": str(saved.folder), **saved.to_json()}
