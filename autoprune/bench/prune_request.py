"""What a model is asked to be pruned by, as text, checked before anything expensive happens."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from autoprune.allocation import auto_grid
from autoprune.bench.programs import check_plan
from autoprune.candidate import Candidate, Group, Scoring
from autoprune.errors import UsageError
from autoprune.metrics import build_metric
from autoprune.program_files import in_file, is_program, metric_source
from autoprune.pruning import PruningPlan

AUTO = "auto"
BLOCKWISE = ("sequential", "true-sequential")


@dataclass(frozen=True)
class PruneRequest:
    """A request of which every name is known, and whose parts fit each other.

    Args:
        metric: Built-in name, ``expr:`` and a formula, a path to a Python file, or ``program:`` and
            a file or a name.
        plan: How to prune, without a seed; where allocations are compared, with one of them.
        grid: Allocations to compare first, in canonical form; None: one was named.
    """

    metric: str
    plan: PruningPlan
    grid: tuple[str, ...] | None

    @classmethod
    def build(
        cls, metric: str, group: str, sparsity: float | None, pattern: str, allocation: str,
        repair: str, statistics: str, *, streams: bool = False,
    ) -> "PruneRequest":  # fmt: skip
        """Check every name of a request, and resolve what is ``auto``."""
        by_program, by_file = is_program(metric), in_file(metric)
        grid = auto_grid(allocation)
        if grid is not None and by_program:
            raise UsageError(
                "allocation 'auto' prunes many times with scores that are made once, and a program "
                "makes none; name an allocation"
            )
        if grid is not None and by_file:
            raise UsageError(
                f"{metric} is scored once, in the container, and allocation 'auto' prunes with it "
                "many times; name an allocation, or write the metric as a formula (expr:...)"
            )
        if by_file:
            metric_source(Path(metric))
        natural: Group = "row" if by_program or by_file else build_metric(metric).group
        chosen: Any = natural if group == AUTO else group
        if by_file and statistics in BLOCKWISE:
            raise UsageError(
                "a metric in a file is scored once, in the container, from statistics of the dense "
                f"model; leave out --statistics {statistics}"
            )
        # A non-uniform one stands for those still to be tried: with N:M there is no choice.
        stands_for = allocation if grid is None else grid[-1]
        plan = PruningPlan.build(
            sparsity, group=chosen, pattern=pattern, allocation=stands_for, repair=repair
        )
        scoring: Any = statistics
        if statistics == AUTO:
            scoring = _scoring(metric, plan, streams=streams, splits=grid is not None)
        plan = replace(plan, scoring=scoring)
        if by_program:
            check_plan(plan, Candidate.parse(metric))
        elif statistics == "true-sequential":
            plan.refuse_unseen()
        return cls(metric, plan, grid)

    @property
    def reads_text(self) -> bool:
        """Whether calibration text can change the result, or the given statistics run on it."""
        if in_file(self.metric) or self.plan.reads_text:
            return True
        return self.plan.uses_text(build_metric(self.metric).needs)


def _scoring(metric: str, plan: PruningPlan, *, streams: bool, splits: bool) -> Scoring:
    """What the scores come from if nothing was asked for."""
    if is_program(metric) or streams:
        return "sequential"
    if in_file(metric) or plan.group == "global":
        return "dense"
    # Without text there are no blocks to run: the scores are the same in any order.
    reads_text = splits or plan.uses_text(build_metric(metric).needs)
    return "sequential" if reads_text else "dense"
