"""Scores of a search's candidate: on the host for built-ins, in the sandbox for designs."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from autoprune.candidate import Candidate
from tasks.sandbox_scores import OFFERED, CandidateRejectedError, SandboxScores
from tasks.search_bench import SearchBench

if TYPE_CHECKING:
    from autoprune.models.structure import PrunableLinear
    from autoprune.pruning import Score


def score_function(
    bench: SearchBench, candidate: Candidate, layers: "Sequence[PrunableLinear]"
) -> "Score":
    """Scores of the dense model's layers.

    Args:
        bench: The search's workbench.
        candidate: Built-ins are computed on the host, everything else in the sandbox.
        layers: The layers that will be asked for, in order.

    Raises:
        CandidateRejectedError: Here or from the scores, when the candidate is turned away.
    """
    if candidate.kind == "builtin" or bench.designs_in == "off":
        return _host_scores(bench, candidate)
    if candidate.kind == "expression":
        _check_needs(candidate)
    source = python_source(candidate)
    return SandboxScores(bench.sandbox, source, candidate.params, bench.layer_files, layers)


def python_source(candidate: Candidate) -> str:
    """What runs in the sandbox: the code itself, or the formula compiled by the trusted side."""
    if candidate.kind == "python":
        return candidate.source
    from autoprune.metrics.language.expression import parse

    return parse(candidate.source).to_python()


def _host_scores(bench: SearchBench, candidate: Candidate) -> "Score":
    if candidate.kind == "python":
        raise CandidateRejectedError(
            "no_sandbox", "Python code runs only in the sandbox, which is off"
        )
    from autoprune.metrics import candidate_metric
    from autoprune.pruning import MetricScore

    if candidate.kind == "expression":
        _check_needs(candidate)
    metric = candidate_metric(candidate)
    return MetricScore(metric, bench.calibrated(metric.needs))


def _check_needs(candidate: Candidate) -> None:
    from autoprune.metrics.language.expression import parse

    missing = sorted(parse(candidate.source).needs - OFFERED)
    if missing:
        raise CandidateRejectedError(
            "missing_statistic",
            f"{', '.join(missing)} was not collected; use {', '.join(sorted(OFFERED))}",
        )
