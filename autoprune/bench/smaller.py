"""A smaller shape in one line: a scheme and, at most, a recovery by the dense model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from autoprune.errors import UsageError
from autoprune.models.structure import prunable_linears
from autoprune.progress import Report, silent
from autoprune.pruning import Precision, masters_of, movable, recover, teach
from autoprune.repair import RECOVER, ModelRecovery
from autoprune.schemes import SCHEMES, Scheme, Shrunk, build_scheme, shrink
from autoprune.spelling import split_outside

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Shrinking:
    """How a model is made smaller: ``depth``, ``depth+width``, ``depth+recover:steps=100``.

    Args:
        scheme: Decides what goes.
        recovery: Trains all weights that stay on the dense model's predictions; None: nothing does.
    """

    scheme: Scheme
    recovery: ModelRecovery | None = None

    @classmethod
    def parse(cls, text: str) -> "Shrinking":
        """Read ``SCHEME`` or ``SCHEME+recover:key=value,...``.

        Raises:
            UnknownNameError: If there is no such scheme.
            UsageError: If a parameter makes no sense, or ``recover`` does not stand last.
        """
        *before, last = split_outside(text.strip(), "+")
        name, _, rest = last.partition(":")
        if name.strip() != RECOVER:
            return cls(build_scheme(text))
        if not before:
            raise UsageError(f"{text!r} names no scheme; write depth+{text.strip()}")
        return cls(build_scheme("+".join(before)), ModelRecovery.from_text(rest))

    @staticmethod
    def names(text: str) -> bool:
        """Whether a text begins with a scheme's name."""
        return text.partition("+")[0].partition(":")[0].strip() in SCHEMES

    @property
    def text(self) -> str:
        """The shortest line that :meth:`parse` reads back."""
        return self.scheme.text + (f"+{self.recovery.text}" if self.recovery else "")

    @property
    def reads_text(self) -> bool:
        """Whether it reads calibration text."""
        return self.recovery is not None or self.scheme.reads_text

    @property
    def stochastic(self) -> bool:
        """Whether the seed matters."""
        return self.recovery is not None or self.scheme.stochastic

    @property
    def fresh_windows(self) -> int:
        """Windows that the recovery reads beside those of the scheme."""
        return 0 if self.recovery is None else self.recovery.windows

    def apply(
        self,
        model: "PreTrainedModel",
        target: float,
        windows: "Tensor | None" = None,
        *,
        fresh: "Tensor | None" = None,
        seed: int = 0,
        precision: Precision = "auto",
        report: Report = silent,
    ) -> Shrunk:
        """Make a model smaller in place; see :func:`autoprune.schemes.shrink`.

        Args:
            model: In eval mode, dense.
            target: Share of the parameters of the blocks that is to go.
            windows: Calibration token ids, int64 [n, s]; None where nothing reads text.
            fresh: Windows that ``windows`` does not hold, for the recovery.
            seed: Of random choices, and of the recovery's order.
            precision: Of the recovery's products.
            report: Callback, called with progress.

        Raises:
            UsageError: If the target is out of reach, or text is needed and there is none.
        """
        how = self.recovery
        if how is None:
            return shrink(model, self.scheme, target, windows, seed=seed, report=report)
        if windows is None:
            raise UsageError(f"{self.text!r} reads calibration text and none is given")
        used = windows

        def taught(dense: "PreTrainedModel") -> "Callable[[PreTrainedModel], Sequence[str]]":
            teacher = teach(dense, how, fresh, used, precision=precision, report=report)

            def recovered(smaller: "PreTrainedModel") -> list[str]:
                moved = movable(smaller, masters_of(prunable_linears(smaller)), how, seed)
                return recover(
                    smaller, teacher, moved, how, seed=seed, precision=precision, report=report
                )

            return recovered

        return shrink(
            model, self.scheme, target, windows, seed=seed, recovery=taught, report=report
        )
