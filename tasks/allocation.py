"""Tasks behind ``--allocation auto``: split the text, measure every allocator, name the best."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from autoprune.allocation import AllocationChoice
from autoprune.bench import cut_text
from autoprune.bench.allocations import choose_allocation as choose
from autoprune.candidate import Candidate
from autoprune.errors import NothingPassedError
from autoprune.pruning import PruningPlan
from tasks.recorded import task_run
from tasks.workbench import Workbench

split_windows = task_run("split text", "split {corpus}")(cut_text.split_windows)


@dataclass(frozen=True)
class MeasuredAllocations:
    """Allocations that were compared, in nats per token of the selection windows.

    Args:
        choice: The losses, and the best.
        seconds: Time that it took.
    """

    choice: AllocationChoice
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Every allocation with its loss, and how it was measured."""
        return {
            "best": self.choice.best,
            "tried": _listed(self.choice.losses),
            "repaired": _listed(self.choice.finals),
            "measured": "one-shot from dense statistics, without repair, on the selection part; "
            "repaired: the same masks after the repair, block after block",
            "seconds": self.seconds,
        }


@task_run("choose allocation", "compare {grid} with {metric}")
def choose_allocation(
    bench: Workbench, metric: str, plan: PruningPlan, grid: Sequence[str]
) -> MeasuredAllocations:
    """Measure every allocator on the selection windows; see :mod:`autoprune.bench.allocations`.

    Args:
        bench: An open workbench with the windows of :func:`split_windows`.
        metric: Built-in name or formula.
        plan: How to prune; its allocation is not used.
        grid: Allocators to compare.

    Raises:
        NothingPassedError: If no allocator gives a finite loss.
    """
    started = time.monotonic()
    choice = choose(bench, Candidate.parse(metric), plan, grid)
    decisive = choice.finals or choice.losses
    if not any(math.isfinite(loss) for _, loss in decisive):
        raise NothingPassedError(
            f"pruned with any of {', '.join(text for text, _ in decisive)} the model's loss "
            "on the selection part is infinite or not a number; nothing was kept; ask for less "
            f"than sparsity {plan.sparsity:g}, and see with `autoprune evaluate` whether the "
            "dense model computes at all"
        )
    return MeasuredAllocations(choice, time.monotonic() - started)


def _listed(losses: Sequence[tuple[str, float]]) -> list[dict[str, Any]]:
    return [{"allocation": text, "loss": loss} for text, loss in losses]
