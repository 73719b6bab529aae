"""Schemes turn a model into a smaller dense model: registry, text form, shared behaviour."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor
from transformers import PreTrainedModel

from autoprune.errors import UsageError
from autoprune.names import MEASURED
from autoprune.progress import Report, silent
from autoprune.registry import Registry
from autoprune.schemes.expert_parts import only_experts, slice_experts
from autoprune.schemes.plan import SchemePlan
from autoprune.schemes.surgery import (
    on_meta,
    remove_blocks,
    replace_weights,
    require_removable,
    without_blocks,
    written,
)
from autoprune.schemes.units import slice_units
from autoprune.spelling import split_outside
from autoprune.textform import TextForm


@dataclass(frozen=True)
class Scheme(TextForm, ABC):
    """Decides what to remove; :meth:`masked` and :meth:`apply` work for every plan of steps."""

    KIND: ClassVar[str] = "scheme"
    # Whether it changes the shape of blocks; such a scheme comes last in a chain.
    NARROWS: ClassVar[bool] = False
    # Increased when a change alters what the scheme gives, so that its kept figures are made again,
    # and those of others stay; what alters all figures raises autoprune.numerics.NUMERICS.
    VERSION: ClassVar[int] = 0

    @property
    def reads_text(self) -> bool:
        """Whether planning runs the model on calibration text."""
        return True

    @property
    def stochastic(self) -> bool:
        """Whether the seed matters."""
        return False

    def own_share(self, model: PreTrainedModel, share: float) -> float:
        """The target of :meth:`plan` that removes this share of the block parameters."""
        del model
        return share

    def shapes_only(self) -> "Scheme":
        """A scheme whose plans have the same shapes and cost next to nothing; itself if unknown."""
        return self

    @abstractmethod
    def plan(
        self,
        model: PreTrainedModel,
        windows: Tensor | None,
        target: float,
        *,
        seed: int = 0,
        report: Report = silent,
    ) -> SchemePlan:
        """Decide what to remove; the model is left unchanged.

        Args:
            model: In eval mode, dense.
            windows: Calibration token ids, int64 [n, s]; None where :attr:`reads_text` is false.
            target: Share of the block parameters to remove, 0 ≤ target < 1; a scheme that counts
                something else says so and converts it in :meth:`own_share`.
            seed: Seed of random choices.
            report: Callback, called with progress.

        Raises:
            UsageError: If the target cannot be reached.
            UnsupportedModelError: If the family lacks the units that the scheme removes.
        """

    @contextmanager
    def masked(self, model: PreTrainedModel, plan: SchemePlan) -> Iterator[None]:
        """Apply the plan inside the context, in the model's full shapes; undo it afterwards."""
        with ExitStack() as stack:
            for step in plan.steps:
                stack.enter_context(written(model, step.weights))
                stack.enter_context(without_blocks(model, step.blocks))
                stack.enter_context(only_experts(model, step.experts))
            yield

    def apply(self, model: PreTrainedModel, plan: SchemePlan) -> None:
        """Make the tensors smaller in place, in a form that stock transformers opens.

        Raises:
            UnsupportedModelError: If stock transformers would build another model from the
                configuration; no weight of that step is changed then.
        """
        for step in plan.steps:
            require_removable(model, step.blocks)
            if any(step.neurons) or any(step.groups) or any(step.experts):
                # First without weights: what the configuration cannot say is refused there.
                twin = on_meta(model)
                slice_units(twin, step.neurons, step.groups)
                slice_experts(twin, step.experts)
            replace_weights(model, step.weights)
            slice_units(model, step.neurons, step.groups)
            slice_experts(model, step.experts)
            if step.blocks:
                remove_blocks(model, step.blocks)


SCHEMES: Registry[type[Scheme]] = Registry("scheme", "autoprune.schemes")


@dataclass(frozen=True)
class SchemeChain(Scheme):
    """Schemes applied in sequence, each removing an equal part of what is still to be removed.

    ``depth+width``: blocks first, then the rest from all blocks that stay.
    """

    parts: tuple[Scheme, ...] = ()

    @property
    def text(self) -> str:
        """The parts, joined by plus signs."""
        return "+".join(part.text for part in self.parts)

    @property
    def reads_text(self) -> bool:
        """Whether any part does."""
        return any(part.reads_text for part in self.parts)

    @property
    def stochastic(self) -> bool:
        """Whether the seed matters to any part."""
        return any(part.stochastic for part in self.parts)

    def shapes_only(self) -> Scheme:
        """See :meth:`Scheme.shapes_only`."""
        return replace(self, parts=tuple(part.shapes_only() for part in self.parts))

    def plan(
        self,
        model: PreTrainedModel,
        windows: Tensor | None,
        target: float,
        *,
        seed: int = 0,
        report: Report = silent,
    ) -> SchemePlan:
        """See :meth:`Scheme.plan`."""
        whole: SchemePlan | None = None
        with ExitStack() as stack:
            for number, part in enumerate(self.parts):
                before = after = 1
                if whole is not None:
                    before, after = whole.before, whole.after
                left = target - (1.0 - after / before)
                own = max(left, 0.0) / (len(self.parts) - number) * before / after
                own = part.own_share(model, own)
                found = part.plan(model, windows, own, seed=seed, report=report)
                stack.enter_context(part.masked(model, found))
                whole = found if whole is None else _joined(whole, found)
        assert whole is not None
        return replace(whole, scheme=self.text, target=target)


def parts_of(scheme: Scheme) -> tuple[Scheme, ...]:
    """The schemes of a chain, or the single one."""
    return scheme.parts if isinstance(scheme, SchemeChain) else (scheme,)


def _joined(first: SchemePlan, then: SchemePlan) -> SchemePlan:
    return replace(
        first,
        steps=first.steps + then.steps,
        after=then.after,
        facts={**first.facts, **then.facts},
        notes=first.notes + then.notes,
    )


def build_scheme(text: str) -> Scheme:
    """Read ``NAME``, ``NAME:key=value,...`` or several joined by plus signs.

    Raises:
        UnknownNameError: If no scheme has the name; names the scheme for a published method.
        UsageError: If a parameter is unknown or out of range, a scheme is named twice, one that
            narrows blocks is not last, or one that cannot be saved is not alone.
    """
    parts: list[Scheme] = []
    for piece in split_outside(text.strip(), "+"):
        name, _, rest = piece.partition(":")
        parts.append(SCHEMES.get(name.strip()).from_text(rest))
    if len({part.NAME for part in parts}) < len(parts):
        raise UsageError(f"scheme {text!r} names one kind twice; name each once")
    alone = [part.NAME for part in parts if part.NAME in MEASURED]
    if alone and len(parts) > 1:
        raise UsageError(f"scheme {text!r}: {alone[0]} acts while a model runs, and stands alone")
    if any(part.NARROWS for part in parts[:-1]):
        raise UsageError(f"scheme {text!r} makes blocks narrower before others; depth goes first")
    return parts[0] if len(parts) == 1 else SchemeChain(tuple(parts))
