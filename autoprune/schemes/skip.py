"""Fewer experts for tokens that need fewer: skip those with little weight at run time.

No stock configuration can express this, so it is measured and not saved.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from autoprune.errors import UnsupportedModelError, UsageError
from autoprune.models.capture import BlockStream
from autoprune.precision import in_float64
from autoprune.progress import Progress, Report, silent
from autoprune.schemes.expert_parts import ExpertPart, expert_parts
from autoprune.schemes.plan import SchemePlan, Step
from autoprune.schemes.scheme import SCHEMES, Scheme
from autoprune.schemes.surgery import block_parameters

_COUNTS = "skipped_computations"


@SCHEMES.register("skip")
@dataclass(frozen=True)
class Skip(Scheme):
    """Skip a token's lowest-weighted experts at run time: measured by compare, never saved.

    An expert is skipped if it and all lower ones weigh less than ``beta`` times those above it;
    with two experts per token, if the second weighs less than ``beta`` times the first. The share
    is of expert computations; each block gets the ``beta`` that skips it on the calibration tokens.
    With two experts, a share of 0.25 gives the median ratio, the paper's rule.
    """

    NAME: ClassVar[str] = "skip"
    SOURCE: ClassVar[str] = "Not All Experts are Equal, section 3.3, arXiv 2402.14800"

    def plan(
        self,
        model: PreTrainedModel,
        windows: Tensor | None,
        target: float,
        *,
        seed: int = 0,
        report: Report = silent,
    ) -> SchemePlan:
        """Find the ratio below which experts are skipped, by block."""
        del seed
        parts = expert_parts(model)
        top_k = next(part.top_k for part in parts if part is not None)
        most = 1.0 - 1.0 / top_k
        if target > most:
            raise UsageError(
                f"a share of {target:g} of the expert computations cannot be skipped: each token "
                f"takes {top_k} experts and one of them stays, a share of at most {most:.4g}"
            )
        steps: tuple[Step, ...] = ()
        facts: dict[str, Any] = {}
        notes: tuple[str, ...] = ()
        if target:
            assert windows is not None
            betas = self._betas(model, windows, parts, target * top_k / (top_k - 1), report)
            steps = (Step(skip_below=tuple(betas)),)
            facts = {"skip": {"experts_of_a_token": top_k, "betas": betas}}
            notes = (
                "experts are skipped while the model runs; their number and the model's size stay, "
                "and transformers computes them all the same, so that no time is saved here",
            )
        before = sum(block_parameters(model))
        return SchemePlan(self.text, target, steps, before, before, facts, notes)

    @torch.no_grad()
    def _betas(
        self,
        model: PreTrainedModel,
        windows: Tensor,
        parts: Sequence[ExpertPart | None],
        share: float,
        report: Report,
    ) -> list[float | None]:
        """Ratios by block, each measured with skipping in the blocks before it."""
        stream = BlockStream(model, windows)
        betas: list[float | None] = []
        with ExitStack() as stack:
            for number, part in enumerate(parts):
                beta = None
                if part is not None:
                    seen: list[Tensor] = []
                    handle = part.router.register_forward_hook(_noting(seen))
                    try:
                        stream.run()
                    finally:
                        handle.remove()
                    beta = threshold(torch.cat(seen), share)
                    hook = _lightening(beta, Skipped())
                    stack.callback(part.router.register_forward_hook(hook).remove)
                betas.append(beta)
                stream.advance()
                report(Progress("skip", number + 1, len(parts)))
        return betas

    @contextmanager
    def masked(self, model: PreTrainedModel, plan: SchemePlan) -> Iterator[None]:
        """Skip experts inside the context."""
        with ExitStack() as stack:
            for handle in _attached(model, plan, Skipped()):
                stack.callback(handle.remove)
            yield

    def apply(self, model: PreTrainedModel, plan: SchemePlan) -> None:
        """Skip experts from now on; :func:`skipped_computations` counts them."""
        counts = model.__dict__[_COUNTS] = Skipped()
        _attached(model, plan, counts)


@dataclass
class Skipped:
    """How many expert computations of tokens there were to do, and how many were skipped."""

    taken: int = 0
    skipped: int = 0

    def add(self, taken: int, skipped: int) -> None:
        """Count computations."""
        self.taken += taken
        self.skipped += skipped

    @property
    def text(self) -> str:
        """The share, in words."""
        share = self.skipped / self.taken if self.taken else 0.0
        return f"{share:.2%} of {self.taken:,} expert computations skipped while it was measured"


def skipped_computations(model: PreTrainedModel) -> Skipped | None:
    """Counts of a model that a scheme changed so that it skips while it runs; None for others."""
    return cast("Skipped | None", model.__dict__.get(_COUNTS))


def threshold(ratios: Tensor, share: float) -> float:
    """The ratio below which this share of them lies.

    Args:
        ratios: Ratios of tokens, [t, k - 1].
        share: From 0 to 1.
    """
    ordered = ratios.flatten().sort().values
    below = round(share * len(ordered))
    if below == len(ordered):
        # Above any possible ratio: each later expert weighs at most as much as an earlier one.
        return float(ratios.shape[1] + 1)
    return float(ordered[below])


def ratios(weights: Tensor) -> Tensor:
    """Weight of each expert and all lower ones, relative to those above it, by rank.

    Args:
        weights: Weights of each token's experts, in any order, [t, k], k at least 2.

    Returns:
        float64 [t, k - 1], for the second expert and those after it.
    """
    ranked = in_float64(weights).sort(-1, descending=True).values
    rest = ranked.flip(-1).cumsum(-1).flip(-1)[:, 1:]
    return rest / ranked.cumsum(-1)[:, :-1]


def _attached(model: PreTrainedModel, plan: SchemePlan, counts: Skipped) -> list[RemovableHandle]:
    return [
        part.router.register_forward_hook(_lightening(beta, counts))
        for step in plan.steps
        for part, beta in zip(expert_parts(model), step.skip_below, strict=True)
        if part is not None and beta is not None
    ]


def _lightening(beta: float, found: Skipped) -> Any:
    def lighter(_: nn.Module, __: Any, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        logits, weights, *rest = given
        ratio = ratios(weights)
        places = weights.argsort(-1, descending=True)
        kept = torch.ones_like(weights, dtype=torch.bool)
        kept.scatter_(-1, places[:, 1:], (ratio >= beta).to(kept.device))
        found.add(kept.numel(), int((~kept).sum()))
        stay = weights * kept
        # The experts that stay get the total weight of all.
        stay = stay * (weights.sum(-1, keepdim=True) / stay.sum(-1, keepdim=True))
        return (logits, stay, *rest)

    return lighter


def _noting(seen: list[Tensor]) -> Any:
    def note(router: nn.Module, _: Any, given: Any) -> None:
        if not isinstance(given, tuple) or len(given) < 3 or given[1].shape != given[2].shape:
            raise UnsupportedModelError(
                f"{type(router).__name__} does not give logits, weights and numbers of the experts "
                "that a token takes, so that none can be skipped; take another scheme"
            )
        seen.append(ratios(given[1]))

    return note
