"""Tasks of validation: every candidate through the sandbox, verdicts as values."""

import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoprune.errors import UnknownNameError, UsageError
from tasks.policies import step
from tasks.state import State

if TYPE_CHECKING:
    from autoprune.recipe import Recipe
    from autoprune.search.steps import Validation
    from tasks.search_bench import SearchBench

# Kilobytes, not megabytes: what is larger is no metric.
LARGEST_SOURCE = 64 << 10


@step("validate", "validate {step_id}")
def validate(bench_id: str, step_id: str, recipe: dict[str, Any]) -> dict[str, Any]:
    """Probe a recipe's metric, then score a few real layers for its mask signature.

    Args:
        bench_id: Id of an open search workbench.
        step_id: Which step asks, for the task's name.
        recipe: JSON form of the recipe.

    Returns:
        JSON form of the outcome.
    """
    from autoprune.recipe import Recipe
    from autoprune.search.steps import outcome_to_json
    from tasks.search_bench import find_search_bench

    bench = find_search_bench(bench_id)
    return outcome_to_json(_validation(bench, Recipe.from_json(recipe)))


def _validation(bench: "SearchBench", recipe: "Recipe") -> "Validation":
    from autoprune.search.steps import Validation
    from tasks.behaviour import behaviour
    from tasks.sandbox_scores import CandidateRejectedError
    from tasks.scoring import python_source

    started = time.monotonic()
    try:
        if recipe.metric.kind != "builtin" and bench.designs_in == "docker":
            _probe(bench, python_source(recipe.metric), dict(recipe.metric.params))
        signature, error = behaviour(bench, recipe)
    except CandidateRejectedError as rejection:
        seconds = time.monotonic() - started
        return Validation(False, rejection.code, rejection.detail[:400], seconds=seconds)
    except UsageError as fault:
        # Our own checks of a formula or its scores, for example NaN on a real layer.
        seconds = time.monotonic() - started
        return Validation(False, "invalid", " ".join(str(fault).split())[:400], seconds=seconds)
    return Validation(True, "ok", "", signature, error, time.monotonic() - started)


def _probe(bench: "SearchBench", source: str, params: dict[str, float]) -> None:
    from sandbox.outcomes import Rejected
    from tasks.sandbox_scores import CandidateRejectedError

    answer = bench.sandbox.probe(source, params)
    if isinstance(answer, Rejected):
        raise CandidateRejectedError(answer.code, answer.detail)


@step("validate file", "validate {path}")
def validate_file(root: str, path: str, statistics: list[str] | None = None) -> dict[str, Any]:
    """What the sandbox says about a metric in a file.

    Args:
        root: The state folder.
        path: The file; it is read, never imported.
        statistics: What the layers carry beside ``W``; None: what those of a search do.

    Returns:
        ``ok``, ``code``, ``detail``, ``file``, ``seconds``, ``statistics`` and those of them that
        are ``beyond_a_search``; when rejected also ``property``, ``line``, ``text``, ``expected``,
        ``got``, ``remedy`` and the end of what it ``printed``.

    Raises:
        UsageError: If the file cannot be read or is no text, or there is no such statistic.
    """
    from sandbox.client import Sandbox
    from sandbox.explain import explain
    from sandbox.outcomes import Rejected
    from sandbox.probe_layers import STATISTICS
    from tasks.sandbox_scores import OFFERED

    source = read_source(Path(path))
    offered = sorted(OFFERED) if statistics is None else statistics
    for name in offered:
        if name not in STATISTICS:
            raise UnknownNameError("statistic", name, STATISTICS)
    inputs = State.open(Path(root)).inputs
    inputs.mkdir(parents=True, exist_ok=True)
    with Sandbox(inputs=inputs, run_id="validate", statistics=offered) as sandbox:
        answer = sandbox.probe(source)
    record: dict[str, Any] = {"ok": True, "code": "ok", "detail": "", "file": path}
    record |= {"seconds": answer.seconds, "statistics": offered}
    record["beyond_a_search"] = sorted(set(offered) - OFFERED)
    if isinstance(answer, Rejected):
        parts = dataclasses.asdict(explain(answer, source))
        record |= {"ok": False, "code": str(answer.code), "detail": answer.detail, **parts}
        record["printed"] = answer.printed
    return record


def read_source(path: Path) -> str:
    """Text of a metric's file.

    Raises:
        UsageError: If it does not exist, is too large or is no UTF-8 text.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"the metric file {path} cannot be read ({error.strerror}); name a .py file that "
            "defines score(W, stats, params)"
        ) from error
    if len(data) > LARGEST_SOURCE:
        raise UsageError(
            f"the metric file {path} has {len(data)} bytes; a metric may have {LARGEST_SOURCE}"
        )
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"the metric file {path} is no UTF-8 text; save it as UTF-8") from error
