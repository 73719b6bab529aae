"""Fewer experts: remove those that each block's tokens need least, with their router rows."""

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from transformers import PreTrainedModel

from autoprune.errors import UsageError
from autoprune.models.capture import BlockStream
from autoprune.progress import Progress, Report, silent
from autoprune.schemes.expert_choice import (
    Losses,
    Routed,
    best_of_all,
    greedy,
    highest,
    subset_count,
)
from autoprune.schemes.expert_parts import ExpertPart, expert_parts
from autoprune.schemes.plan import SchemePlan, Step
from autoprune.schemes.scheme import SCHEMES, Scheme
from autoprune.schemes.surgery import block_parameters

Criterion = Literal["auto", "exhaustive", "greedy", "reap", "frequency", "random"]
# Maximum number of subsets of a block's experts to try.
MOST_SUBSETS = 2000


@SCHEMES.register("experts")
@dataclass(frozen=True)
class Experts(Scheme):
    """Remove experts of a mixture, equally many from every block; the share is of the experts.

    Each block is judged on its own, with its inputs in the dense model.

    Args:
        criterion: ``exhaustive``: of all subsets the one that changes the block's output least on
            the calibration tokens; ``greedy``: one expert at a time by the same error;
            ``reap``: mean of router weight times norm of the expert's output over its tokens
            (arXiv 2510.13999); ``frequency``: number of its tokens; ``random``: a control;
            ``auto``: exhaustive if a block has at most 2,000 subsets, else reap.
    """

    NAME: ClassVar[str] = "experts"
    SOURCE: ClassVar[str] = "Not All Experts are Equal, arXiv 2402.14800"
    NARROWS: ClassVar[bool] = True

    criterion: Criterion = "auto"

    @property
    def reads_text(self) -> bool:
        """False only for a random choice."""
        return self.criterion != "random"

    @property
    def stochastic(self) -> bool:
        """Whether the seed matters."""
        return self.criterion == "random"

    def shapes_only(self) -> Scheme:
        """See :meth:`Scheme.shapes_only`."""
        return replace(self, criterion="random")

    def own_share(self, model: PreTrainedModel, share: float) -> float:
        """The share of the experts that holds this share of the block parameters."""
        held = sum(p.count * p.parameters for p in expert_parts(model) if p is not None)
        return min(share * sum(block_parameters(model)) / held, 1.0)

    def plan(
        self,
        model: PreTrainedModel,
        windows: Tensor | None,
        target: float,
        *,
        seed: int = 0,
        report: Report = silent,
    ) -> SchemePlan:
        """Choose the experts of each block to keep."""
        parts = expert_parts(model)
        known = next(part for part in parts if part is not None)
        kept = self.count(known, target)
        before = sum(block_parameters(model))
        facts: dict[str, Any] = {"experts": [known.count, kept], "criterion": self.criterion}
        steps: tuple[Step, ...] = ()
        after = before
        if kept < known.count:
            criterion = facts["criterion"] = self.settled(known, kept)
            if criterion == "random":
                generator = torch.Generator().manual_seed(seed)
                chosen = [
                    ()
                    if part is None
                    else highest(part, torch.rand(part.count, generator=generator), kept)
                    for part in parts
                ]
            else:
                assert windows is not None
                chosen = self._chosen(model, windows, parts, kept, criterion, facts, report)
            steps = (Step(experts=tuple(chosen)),)
            gone = known.count - kept
            after -= sum(gone * part.parameters for part in parts if part is not None)
        return SchemePlan(self.text, target, steps, before, after, {"experts": facts})

    def count(self, part: ExpertPart, target: float) -> int:
        """Number of experts to keep in a block.

        Raises:
            UsageError: If tokens could no longer use as many experts as they do.
        """
        gone = math.floor(target * part.count / part.groups + 0.5) * part.groups
        kept = part.count - gone
        if kept < part.count and not part.serves(kept):
            least = next((n for n in range(1, part.count) if part.serves(n)), part.count)
            grouped = f" out of {part.chosen_groups} of {part.groups} groups"
            raise UsageError(
                f"a share of {target:g} leaves {kept} of {part.count} experts, and each token "
                f"takes {part.top_k}{grouped if part.groups > 1 else ''}: {least} must stay, a "
                f"share of at most {1 - least / part.count:.4g}; lower it"
            )
        return kept

    def settled(self, part: ExpertPart, kept: int) -> str:
        """The criterion to use.

        Raises:
            UsageError: If there are too many subsets to try, or removing single experts makes
                groups unequal.
        """
        tried = subset_count(part, kept)
        if self.criterion == "auto":
            return "exhaustive" if tried <= MOST_SUBSETS else "reap"
        if self.criterion == "exhaustive" and tried > MOST_SUBSETS:
            raise UsageError(
                f"{kept} of {part.count} experts can be chosen in {tried:,} ways, and at most "
                f"{MOST_SUBSETS:,} are tried; take criterion=greedy or criterion=reap"
            )
        if self.criterion == "greedy" and part.groups > 1:
            raise UsageError(
                f"criterion=greedy removes one expert after the other, and this router's "
                f"{part.groups} groups must stay equal; take criterion=reap or criterion=exhaustive"
            )
        return self.criterion

    @torch.no_grad()
    def _chosen(
        self,
        model: PreTrainedModel,
        windows: Tensor,
        parts: list[ExpertPart | None],
        kept: int,
        criterion: str,
        facts: dict[str, Any],
        report: Report,
    ) -> list[tuple[int, ...]]:
        chosen: list[tuple[int, ...]] = []
        facts["errors"], facts["scores"] = {}, {}
        stream = BlockStream(model, windows)
        for number, part in enumerate(parts):
            if part is None:
                stream.advance()
                chosen.append(())
                continue
            routed = Routed(part)
            handle = part.experts.register_forward_hook(routed.note)
            try:
                stream.advance()
            finally:
                handle.remove()
            if criterion in ("exhaustive", "greedy"):
                losses = Losses(routed)
                numbers = (best_of_all if criterion == "exhaustive" else greedy)(losses, kept)
                share = losses.of(numbers) / losses.whole if losses.whole else 0.0
                facts["errors"][str(number)] = share
            else:
                scores = routed.activations() if criterion == "reap" else routed.counts()
                numbers = highest(part, scores, kept)
                facts["scores"][str(number)] = scores.tolist()
            chosen.append(numbers)
            report(Progress("experts", number + 1, len(parts)))
        return chosen
