"""Make a model smaller in place: plan, apply, check the count, then repair."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from autoprune.errors import AutopruneError, UsageError
from autoprune.models.positions import require_positions
from autoprune.progress import Report, silent
from autoprune.schemes.plan import SchemePlan
from autoprune.schemes.scans import seconds_spared
from autoprune.schemes.scheme import Scheme
from autoprune.schemes.surgery import block_parameters, require_removable

# Called with the dense model and its plan before anything is removed, to keep what it teaches. The
# function it returns is called with the smaller model, trains it in place and returns notes.
Repairing = Callable[[PreTrainedModel, SchemePlan], Callable[[PreTrainedModel], Sequence[str]]]


@dataclass(frozen=True)
class Shrunk:
    """What was done to a model.

    Args:
        plan: What was removed.
        parameters_before: Parameters of the whole model, tied ones counted once.
        parameters: Parameters counted in the smaller model.
        notes: What readers of its figures must know.
        seconds: Wall-clock time, repair included, and the time of scans that were remembered.
        budget: What a budget in bytes or speed asked for and reached; empty for a share.
    """

    plan: SchemePlan
    parameters_before: int
    parameters: int
    notes: tuple[str, ...]
    seconds: float
    budget: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON form, without weights."""
        return {
            **self.plan.to_json(),
            **({"budget": dict(self.budget)} if self.budget else {}),
            "parameters_before": self.parameters_before,
            "parameters": self.parameters,
        }


def require_share(target: float) -> None:
    """Refuse a share that cannot be removed.

    Raises:
        UsageError: If it is below 0, or 1 or above.
    """
    if not 0.0 <= target < 1.0:
        raise UsageError(f"a share of {target:g} cannot go; it must be at least 0 and below 1")


def shrink(
    model: PreTrainedModel,
    scheme: Scheme,
    target: float,
    windows: Tensor | None = None,
    *,
    seed: int = 0,
    repair: Repairing | None = None,
    report: Report = silent,
) -> Shrunk:
    """Make a model smaller in place.

    Args:
        model: In eval mode, dense.
        scheme: Decides what to remove.
        target: Share of the block parameters to remove, 0 ≤ target < 1.
        windows: Calibration token ids, int64 [n, s]; None if the scheme reads no text.
        seed: Seed of random choices.
        repair: Called first with the dense model and the plan; the function it returns is called
            last, with the smaller one, and may change weights, not shapes.
        report: Callback, called with progress.

    Raises:
        UsageError: If the target is out of reach or the scheme needs text and there is none.
        UnsupportedModelError: If the family cannot be made smaller in this way.
    """
    started = time.perf_counter() + seconds_spared()
    require_share(target)
    if windows is None and scheme.reads_text:
        raise UsageError(f"the scheme {scheme.text!r} reads calibration text and none is given")
    if windows is not None:
        require_positions(model, windows)
    before = model.num_parameters()
    plan = scheme.plan(model, windows, target, seed=seed, report=report)
    if target > 0 and not plan.steps:
        smallest = min(block_parameters(model)) / plan.before
        removes_blocks = any(part.startswith("depth") for part in scheme.text.split("+"))
        block = f" (a block is {smallest:.3f} of the blocks' parameters)" if removes_blocks else ""
        raise UsageError(
            f"a share of {target:g} is too small for {scheme.text!r} to remove anything; take a "
            f"larger one{block}"
        )
    if repair is not None and plan.steps:
        # A refusal should not wait for a teacher.
        require_removable(model, plan.steps[0].blocks)
    finish = None if repair is None else repair(model, plan)
    scheme.apply(model, plan)
    # The new weights are in the model: a recovery must not hold a second set of them.
    plan = replace(plan, steps=tuple(step.without_weights() for step in plan.steps))
    counted, whole = sum(block_parameters(model)), model.num_parameters()
    planned = before - (plan.before - plan.after)
    if (counted, whole) != (plan.after, planned):
        raise AutopruneError(
            f"the smaller model holds {whole:,} parameters, {counted:,} of them in blocks, and "
            f"{planned:,} and {plan.after:,} were planned"
        )
    notes = list(plan.notes)
    if finish is not None:
        notes += finish(model)
    # A scan that an earlier scheme has paid for counts for this one too.
    seconds = time.perf_counter() + seconds_spared() - started
    return Shrunk(plan, before, model.num_parameters(), tuple(notes), seconds)
