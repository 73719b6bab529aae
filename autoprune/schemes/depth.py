"""Fewer blocks: remove those that the model needs least, and patch the seams."""

import math
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from torch import Tensor
from transformers import PreTrainedModel

from autoprune.errors import UsageError
from autoprune.progress import Report, silent
from autoprune.schemes.exchange import exchange_blocks
from autoprune.schemes.importance import (
    influences,
    losses_without,
    magnitudes,
    scan_windows,
    taylor,
)
from autoprune.schemes.plan import SchemePlan, Step
from autoprune.schemes.scans import scanned
from autoprune.schemes.scheme import SCHEMES, Scheme
from autoprune.schemes.seam import patch_seams
from autoprune.schemes.surgery import block_parameters, without_blocks

Criterion = Literal["perplexity", "taylor", "magnitude", "influence", "greedy", "search", "random"]
# Criteria that never measure what a block contributes. Unprotected, they would remove the first
# blocks, without which the model fails.
_BLIND = ("taylor", "magnitude", "random")
_PROTECTED = re.compile(r"(\d{1,4})-(\d{1,4})")


@SCHEMES.register("depth")
@dataclass(frozen=True)
class Depth(Scheme):
    """Remove whole blocks.

    Args:
        criterion: ``perplexity``: of the model without each block alone; ``greedy``: the same,
            measured again after each removal (SLEB); ``search``: starts from what ``perplexity``
            removes and exchanges blocks, keeping what lowers the loss (EvoPress); ``influence``:
            1 minus the cosine between a block's input and output (ShortGPT); ``taylor``:
            first-order change of the loss; ``magnitude``: sum of absolute weights; ``random``: a
            control. What is measured without blocks is measured on the first 4,096 tokens.
        protect: Blocks never removed: ``FIRST-LAST`` such as ``4-2`` at both ends, ``none``, or
            ``auto``: the first eighth and the last sixteenth of the blocks for ``taylor``,
            ``magnitude`` and ``random`` (the rule "+" of Shortened LLaMA, scaled), else none.
        patch: ``linear`` folds a map fitted in closed form into the block before each seam
            (ReplaceMe); ``scale`` one that only scales the channels of a rotated space (after
            LinearPatch), which few windows determine; ``none`` leaves seams open.
        trials: Sets of blocks that ``search`` measures.
    """

    NAME: ClassVar[str] = "depth"
    SOURCE: ClassVar[str] = "Shortened LLaMA, arXiv 2402.02834"
    # 1: losses without blocks are measured on at most SCAN_TOKENS tokens. 2: signed gradients of
    # bfloat16 weights are summed in float32.
    VERSION: ClassVar[int] = 2

    criterion: Criterion = "perplexity"
    protect: str = "auto"
    patch: Literal["linear", "scale", "none"] = "linear"
    trials: int = 60

    def __post_init__(self) -> None:
        named = self.protect in ("auto", "none") or _PROTECTED.fullmatch(self.protect)
        self._require("protect", bool(named), "auto, none or FIRST-LAST, such as 4-2")
        self._require("trials", self.trials >= 1, "1 or above")

    @property
    def reads_text(self) -> bool:
        """False only for a choice by weights or at random, without a patch."""
        return self.patch != "none" or self.criterion not in ("magnitude", "random")

    @property
    def stochastic(self) -> bool:
        """Whether the seed matters."""
        return self.criterion in ("random", "search")

    def shapes_only(self) -> Scheme:
        """See :meth:`Scheme.shapes_only`."""
        # Automatic protection depends on the criterion.
        kept = "none" if self.protect == "auto" and self.criterion not in _BLIND else self.protect
        return replace(self, criterion="random", protect=kept, patch="none")

    def protected(self, count: int) -> set[int]:
        """Numbers of the protected blocks, out of ``count``."""
        first = last = 0
        found = _PROTECTED.fullmatch(self.protect)
        if found is not None:
            first, last = int(found[1]), int(found[2])
        elif self.protect == "auto" and self.criterion in _BLIND:
            first, last = math.ceil(count / 8), max(1, count // 16)
        return {n for n in range(count) if n < first or n >= count - last}

    def plan(
        self,
        model: PreTrainedModel,
        windows: Tensor | None,
        target: float,
        *,
        seed: int = 0,
        report: Report = silent,
    ) -> SchemePlan:
        """Remove the least important blocks, as many as come closest to the target."""
        sizes = block_parameters(model)
        stay = self.protected(len(sizes))
        goal = target * sum(sizes)
        removed: list[int] = []
        scores: dict[int, float] = {}
        left: dict[int, float] = {}
        while True:
            candidates = [n for n in range(len(sizes)) if n not in stay and n not in removed]
            # The smallest block decides whether removing another one comes closer.
            gone = sum(sizes[n] for n in removed)
            nearest = gone + min((sizes[n] for n in candidates), default=min(sizes)) / 2
            if nearest > goal or goal == 0:
                break
            if not candidates or len(removed) + 1 == len(sizes):
                raise UsageError(
                    f"a share of {target:g} is more than the {len(removed)} blocks of {len(sizes)} "
                    f"that may go; lower it, or protect fewer ({self.text}, protect=none)"
                )
            if not left or self.criterion == "greedy":
                left = self._scores(model, windows, sizes, candidates, removed, seed, report)
                scores = scores | left
            best = min(candidates, key=left.__getitem__)
            if gone + sizes[best] / 2 > goal:
                break
            removed.append(best)
        weights: dict[str, Tensor] = {}
        notes: list[str] = []
        facts: dict[str, Any] = {"removed_in_order": removed, "scores": scores}
        # The best single block is known already.
        if self.criterion == "search" and len(removed) > 1:
            assert windows is not None
            may_go = [n for n in range(len(sizes)) if n not in stay]
            text = scan_windows(windows)
            found = exchange_blocks(
                model, text, removed, may_go, sizes, trials=self.trials, seed=seed, report=report
            )
            facts |= {"loss": found.loss, "loss_at_first": found.first, "tried": found.tried}
            facts["removed_in_order"] = removed = found.removed
        if removed and self.patch != "none":
            assert windows is not None
            patches = patch_seams(model, windows, removed, form=self.patch, report=report)
            weights, notes = patches.weights, patches.notes
            facts["seam_errors"] = patches.errors
        after = sum(sizes) - sum(sizes[n] for n in removed)
        step = Step(blocks=tuple(sorted(removed)), weights=weights)
        steps = (step,) if removed else ()
        named = {"depth": _named(facts)}
        return SchemePlan(self.text, target, steps, sum(sizes), after, named, tuple(notes))

    def _scores(
        self,
        model: PreTrainedModel,
        windows: Tensor | None,
        sizes: Sequence[int],
        candidates: Sequence[int],
        removed: Sequence[int],
        seed: int,
        report: Report,
    ) -> dict[int, float]:
        """Score of each block; the lowest is removed first."""
        if self.criterion == "random":
            order = list(candidates)
            random.Random(seed).shuffle(order)
            return {number: float(place) for place, number in enumerate(order)}
        if self.criterion == "magnitude":
            return magnitudes(model)
        assert windows is not None
        text, kind = windows, self.criterion
        if kind == "influence":
            return scanned(kind, text, sizes, (), lambda: influences(model, text, report=report))
        if kind == "taylor":
            return scanned(kind, text, sizes, (), lambda: taylor(model, text, report=report))
        text, asked = scan_windows(text), (candidates, removed)
        return scanned(
            "perplexity", text, sizes, asked, lambda: _perplexities(model, text, *asked, report)
        )


def _perplexities(
    model: PreTrainedModel,
    windows: Tensor,
    candidates: Sequence[int],
    removed: Sequence[int],
    report: Report,
) -> dict[int, float]:
    """Perplexity without each candidate, with the removed blocks already gone."""
    places = {number: number - sum(gone < number for gone in removed) for number in candidates}
    with without_blocks(model, removed):
        losses = losses_without(model, windows, list(places.values()), report=report)
    return {
        number: math.exp(min(losses[place], math.log(1e300))) for number, place in places.items()
    }


def _named(facts: dict[str, Any]) -> dict[str, Any]:
    """Block numbers as JSON keys."""
    return {
        key: {str(number): item for number, item in value.items()}
        if isinstance(value, dict)
        else value
        for key, value in facts.items()
    }
