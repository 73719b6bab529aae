"""What a model is asked to be pruned by, as text, checked before anything expensive happens."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from autoprune.allocation import auto_grid
from autoprune.bench.programs import check_plan
from autoprune.candidate import Candidate, Group
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
        statistics: What was asked for; the plan's scoring does not say it.
    """

    metric: str
    plan: PruningPlan
    grid: tuple[str, ...] | None
    statistics: str

    @classmethod
    def build(
        cls, metric: str, group: str, sparsity: float | None, pattern: str, allocation: str,
        repair: str, statistics: str,
    ) -> "PruneRequest":  # fmt: skip
        """Check every name of a request.

        Raises:
            UsageError: If a part is unknown or parts contradict each other.
        """
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
        if by_program:
            scoring: Any = "sequential" if statistics == AUTO else statistics
            check_plan(replace(plan, scoring=scoring), Candidate.parse(metric))
        elif statistics == "true-sequential":
            replace(plan, scoring="true-sequential").refuse_unseen()
        return cls(metric, plan, grid, statistics)

    @property
    def reads_text(self) -> bool:
        """Whether calibration text can change the result, or the given statistics run on it."""
        if is_program(self.metric) or in_file(self.metric) or self.statistics in BLOCKWISE:
            return True
        return self.plan.uses_text(build_metric(self.metric).needs)
