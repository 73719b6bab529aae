"""Tasks behind ``--allocation auto``: split the text, measure every allocator, name the best."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from autoprune.allocation import AllocationChoice
from autoprune.bench.allocations import choose_allocation as choose
from autoprune.bench.text import CALIBRATION as CALIBRATION
from autoprune.bench.text import SELECTION as SELECTION
from autoprune.bench.text import BenchText
from autoprune.candidate import Candidate
from autoprune.errors import NothingPassedError
from autoprune.pruning import PruningPlan
from tasks.calibrate import CutText, cut, notes_on
from tasks.recorded import step
from tasks.workbench import Workbench

WINDOWS = 8


@dataclass(frozen=True)
class SplitText:
    """Windows of two parts of a text, whose sealed part stays unread.

    Args:
        calibration: The calibration part.
        selection: The selection part.
        seed: Seed of the split.
        digest: SHA-256 of the split.
    """

    calibration: CutText
    selection: CutText
    seed: int
    digest: str

    @property
    def split(self) -> dict[str, Any]:
        """The split, as records hold it."""
        return {"seed": self.seed, "digest": self.digest}


@step("split text", "split {corpus}")
def split_windows(
    bench: Workbench, corpus: str, samples: int, seqlen: int, seed: int, fresh: int = 0
) -> SplitText:
    """Cut windows of the calibration and the selection part, without touching the sealed part.

    Args:
        bench: An open workbench.
        corpus: Reference of a real text.
        samples: Calibration windows.
        seqlen: Tokens in a window.
        seed: Seed of the split.
        fresh: Further windows of the calibration part; see :func:`tasks.calibrate.cut_windows`.

    Raises:
        UsageError: If the text is too short, or was written by the model.
    """
    counts: dict[str, int] = {CALIBRATION: samples, SELECTION: WINDOWS}
    bench.text = BenchText(corpus, seqlen, counts, seed)
    parts = bench.splits
    known = cut(bench, CALIBRATION, parts.calibration, samples, seqlen, fresh)
    measured = cut(bench, SELECTION, parts.selection, WINDOWS, seqlen)
    what = f"the calibration part of {known.corpus}"
    known = replace(known, notes=notes_on(known, parts.calibration, what, samples))
    return SplitText(known, measured, seed, parts.digest)


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


@step("choose allocation", "compare {grid} with {metric}")
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
