"""A scheme makes a model smaller as a dense model: registry, text form, what all have in common."""

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
from autoprune.schemes.hidden import projected, slice_hidden
from autoprune.schemes.plan import SchemePlan
from autoprune.schemes.surgery import remove_blocks, without_blocks, write, written
from autoprune.schemes.units import slice_units
from autoprune.spelling import split_outside
from autoprune.textform import TextForm


@dataclass(frozen=True)
class Scheme(TextForm, ABC):
    """Decides what goes; :meth:`masked` and :meth:`apply` serve every plan made of steps."""

    KIND: ClassVar[str] = "scheme"
    # Whether blocks have another shape afterwards; such a scheme comes last in a chain.
    NARROWS: ClassVar[bool] = False

    @property
    def reads_text(self) -> bool:
        """Whether planning runs the model on calibration text."""
        return True

    @property
    def stochastic(self) -> bool:
        """Whether the seed matters."""
        return False

    def own_share(self, model: PreTrainedModel, share: float) -> float:
        """The target of :meth:`plan` that takes this share of the parameters of the blocks."""
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
        """Decide what goes; the model is as it was afterwards.

        Args:
            model: In eval mode, dense.
            windows: Calibration token ids, int64 [n, s]; None where :attr:`reads_text` is false.
            target: Share of the parameters of the blocks that is to go, 0 ≤ target < 1; a scheme
                that counts something else says so, and converts it in :meth:`own_share`.
            seed: Of random choices.
            report: Callback, called with progress.

        Raises:
            UsageError: If the target cannot be reached.
            AutopruneError: If the family has not the units that the scheme removes.
        """

    @contextmanager
    def masked(self, model: PreTrainedModel, plan: SchemePlan) -> Iterator[None]:
        """The model as the plan makes it inside the body, in its full shapes; then as it was."""
        with ExitStack() as stack:
            for step in plan.steps:
                stack.enter_context(written(model, step.weights))
                stack.enter_context(without_blocks(model, step.blocks))
                stack.enter_context(only_experts(model, step.experts))
                stack.enter_context(projected(model, step.directions))
            yield

    def apply(self, model: PreTrainedModel, plan: SchemePlan) -> None:
        """Make the tensors smaller, in place, in the form that stock transformers opens.

        Raises:
            AutopruneError: If stock transformers would build another model from the configuration.
        """
        for step in plan.steps:
            write(model, step.weights)
            slice_units(model, step.neurons, step.groups)
            slice_experts(model, step.experts)
            slice_hidden(model, step.directions)
            if step.blocks:
                remove_blocks(model, step.blocks)


SCHEMES: Registry[type[Scheme]] = Registry("scheme", "autoprune.schemes")


@dataclass(frozen=True)
class Chain(Scheme):
    """Schemes one after the other; each takes an equal part of what is still to go.

    ``depth+width``: blocks first, then what is still missing from all that stay.
    """

    parts: tuple[Scheme, ...] = ()

    @property
    def text(self) -> str:
        """The parts with plus signs between them."""
        return "+".join(part.text for part in self.parts)

    @property
    def reads_text(self) -> bool:
        """Whether one of them does."""
        return any(part.reads_text for part in self.parts)

    @property
    def stochastic(self) -> bool:
        """Whether the seed matters to one of them."""
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
    """The schemes of a chain, or the one."""
    return scheme.parts if isinstance(scheme, Chain) else (scheme,)


def _joined(first: SchemePlan, then: SchemePlan) -> SchemePlan:
    return replace(
        first,
        steps=first.steps + then.steps,
        after=then.after,
        outside=first.outside + then.outside,
        facts={**first.facts, **then.facts},
        notes=first.notes + then.notes,
    )


def build_scheme(text: str) -> Scheme:
    """Read ``NAME``, ``NAME:key=value,...`` or several with plus signs between them.

    Raises:
        UnknownNameError: If no scheme has the name; says what serves a published method's name.
        UsageError: If a parameter is unknown or out of range, a scheme is named twice, or one that
            makes blocks narrower stands before another, or one that is not saved beside another.
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
    return parts[0] if len(parts) == 1 else Chain(tuple(parts))
