"""Convert a budget in bytes or speed to the share of parameters that a scheme removes."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from autoprune.budget import Budget
from autoprune.errors import UsageError
from autoprune.evaluation.suites.latency import tokens_per_second
from autoprune.models.saved_type import bytes_as
from autoprune.models.structure import find_blocks
from autoprune.names import MEASURED
from autoprune.progress import Progress, Report, silent
from autoprune.schemes import Scheme, SchemePlan, parts_of

# Measures tokens per second of a model.
Speed = Callable[[PreTrainedModel], float]
# Shares are tried in hundredths.
STEPS = 100


@dataclass(frozen=True)
class SchemeBudget:
    """The target of a scheme, in the unit in which it was requested.

    Args:
        budget: The requested budget.
        saved: Type of the weights in files; None: as in memory.
        speed: Measures tokens per second, first for the dense model.
    """

    budget: Budget
    saved: torch.dtype | None = None
    speed: Speed = tokens_per_second

    def share(
        self,
        model: PreTrainedModel,
        scheme: Scheme,
        windows: Tensor | None = None,
        *,
        report: Report = silent,
    ) -> tuple[float, dict[str, Any]]:
        """Find the share for the scheme's plan, and a record of how it was found."""
        if self.budget.unit == "sparsity":
            return self.budget.share, {}
        share, found = self.of_parameters(model, scheme, windows, report=report)
        return scheme.own_share(model, share), found

    def of_parameters(
        self,
        model: PreTrainedModel,
        scheme: Scheme,
        windows: Tensor | None = None,
        *,
        report: Report = silent,
    ) -> tuple[float, dict[str, Any]]:
        """As :meth:`share`, for every scheme as a share of the blocks' parameters."""
        if self.budget.unit == "sparsity":
            return self.budget.share, {}
        if any(part.NAME in MEASURED for part in parts_of(scheme)):
            raise UsageError(
                f"{scheme.text!r} leaves bytes and time as they are; compare it at --sparsity"
            )
        reach = _Reach(model, scheme.shapes_only(), windows)
        if self.budget.bytes is not None:
            return self._by_bytes(reach, self.budget.bytes, scheme.text), {}
        assert self.budget.faster is not None
        return self._by_speed(reach, self.budget.faster, scheme.text, report)

    def reached(self, model: PreTrainedModel, before: int) -> dict[str, Any]:
        """Bytes of the smaller model and of the dense one."""
        after = self.bytes_of(model)
        return {"bytes_before": before, "bytes": after, "bytes_removed": 1.0 - after / before}

    def bytes_of(self, model: PreTrainedModel) -> int:
        """Bytes of a model's saved tensors, without file headers; tied tensors count once."""
        return bytes_as(model.state_dict().values(), self.saved)

    def _by_bytes(self, reach: "_Reach", asked: float, text: str) -> float:
        blocks = [p for block in find_blocks(reach.model) for p in block.parameters()]
        held = bytes_as(blocks, self.saved) / self.bytes_of(reach.model)
        share = asked / held
        if share >= 1.0 or reach.plan(share) is None:
            most = reach.most
            raise UsageError(
                f"{text!r} cannot take {asked:.1%} of the bytes: the blocks hold "
                f"{held:.1%} of them, and the most that it takes is about "
                f"{most * held / STEPS:.1%}; ask for less, or for another scheme"
            )
        return share

    def _by_speed(
        self, reach: "_Reach", asked: float, text: str, report: Report
    ) -> tuple[float, dict[str, Any]]:
        dense = self.speed(reach.model)
        # By number of remaining parameters: shares that lead to the same shapes are measured once.
        known: dict[int, float] = {}
        tried: list[dict[str, float]] = []

        def times(step: int) -> float:
            plan = reach.plan(step / STEPS)
            assert plan is not None
            if plan.after not in known:
                smaller = copy.deepcopy(reach.model)
                reach.scheme.apply(smaller, plan)
                found = known[plan.after] = self.speed(smaller) / dense
                tried.append({"share": plan.share, "times": found})
                report(Progress("speed", len(tried), 1 + STEPS.bit_length(), f"{found:.2f} times"))
            return known[plan.after]

        low, high = 0, reach.most
        if not high or times(high) < asked:
            gone = max((one["share"] for one in tried), default=0.0)
            best = f"{max(known.values(), default=1.0):.2f} times the dense model's tokens a second"
            raise UsageError(
                f"{text!r} makes the model at most {best} here, with {gone:.0%} of the "
                f"blocks' parameters gone, and {asked:g} are asked for; ask for less, or for "
                "another scheme"
            )
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if times(middle) >= asked else (middle, high)
        facts = {"faster": times(high), "tokens_per_second_dense": dense, "speed_tried": tried}
        return high / STEPS, facts


class _Reach:
    """Plans of shapes only, and the largest share they can remove."""

    def __init__(self, model: PreTrainedModel, scheme: Scheme, windows: Tensor | None) -> None:
        self.model, self.scheme, self.windows = model, scheme, windows
        # What is wrong with the scheme itself is wrong at any share; reach is another matter.
        scheme.plan(model, windows, scheme.own_share(model, 0.0))

    def plan(self, share: float) -> SchemePlan | None:
        """The plan that removes a share of the blocks' parameters; None: it is out of reach."""
        try:
            return self.scheme.plan(
                self.model, self.windows, self.scheme.own_share(self.model, share)
            )
        except UsageError:
            return None

    @property
    def most(self) -> int:
        """Largest removable share of the blocks' parameters, in hundredths."""
        low, high = 0, STEPS
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.plan(middle / STEPS) is None else (middle, high)
        return low
