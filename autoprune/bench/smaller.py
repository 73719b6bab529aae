"""A smaller shape on one line: a scheme and, optionally, a repair by the dense model."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from autoprune.bench.scheme_budget import SchemeBudget
from autoprune.errors import UsageError
from autoprune.models.structure import find_blocks, prunable_linears
from autoprune.names import MEASURED
from autoprune.progress import Report, silent
from autoprune.pruning import (
    Precision,
    masters_of,
    movable,
    recover,
    sharing,
    teach,
    tune_stretches,
)
from autoprune.repair import EBFT, RECOVER, REPAIRS, Repair
from autoprune.schemes import (
    SCHEMES,
    Scheme,
    SchemePlan,
    Shrunk,
    build_scheme,
    parts_of,
    remembering,
    shrink,
)
from autoprune.spelling import split_outside

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from autoprune.bench.bench import Bench


@dataclass(frozen=True)
class Shrinking:
    """How a model is made smaller: ``depth``, ``depth+width``, ``depth+ebft+recover:steps=100``.

    Args:
        scheme: Decides what is removed.
        repair: What is done to the weights that remain: tuning of each block, recovery of the
            model, both or neither. Repairs of layers are refused: they need masks.
    """

    scheme: Scheme
    repair: Repair = field(default_factory=Repair)

    def __post_init__(self) -> None:
        repair, parts = self.repair, parts_of(self.scheme)
        if not repair.acts:
            return
        alone = [part.NAME for part in parts if part.NAME in MEASURED]
        if alone:
            raise UsageError(
                f"{self.text!r}: {alone[0]} acts while a model runs and changes no weight, so that "
                "no repair follows it; it stands alone"
            )
        if repair.layer:
            raise UsageError(
                f"{self.text!r}: {repair.layer[0].NAME} works around zeros, and a scheme leaves "
                f"none; what may follow a scheme is {EBFT}, which tunes each block, and "
                f"{RECOVER}, which trains the model: {self.scheme.text}+{EBFT}+{RECOVER}"
            )

    @classmethod
    def parse(cls, text: str) -> "Shrinking":
        """Read ``SCHEME``, or ``SCHEME+REPAIR`` such as ``depth+ebft:epochs=2+recover``."""
        pieces = split_outside(text.strip(), "+")
        names = [piece.partition(":")[0].strip() for piece in pieces]
        repairs = [place for place, name in enumerate(names) if name in REPAIRS]
        if not repairs:
            return cls(build_scheme(text))
        first = repairs[0]
        if not first:
            raise UsageError(f"{text!r} names no scheme; write depth+{text.strip()}")
        if late := [name for name in names[first:] if name in SCHEMES]:
            raise UsageError(
                f"{text!r}: {late[0]} removes parts, and {names[first]} repairs what is left; "
                "write all schemes before it"
            )
        scheme = build_scheme("+".join(pieces[:first]))
        return cls(scheme, Repair.parse("+".join(pieces[first:])))

    @staticmethod
    def names(text: str) -> bool:
        """Whether a text begins with a scheme's name."""
        return text.partition("+")[0].partition(":")[0].strip() in SCHEMES

    @property
    def text(self) -> str:
        """The shortest line that :meth:`parse` reads back."""
        return self.scheme.text + (f"+{self.repair.text}" if self.repair.acts else "")

    @property
    def reads_text(self) -> bool:
        """Whether it reads calibration text."""
        return self.repair.acts or self.scheme.reads_text

    @property
    def stochastic(self) -> bool:
        """Whether the seed matters."""
        return self.repair.acts or self.scheme.stochastic

    @property
    def fresh_windows(self) -> int:
        """Windows that a recovery reads in addition to those of the scheme."""
        return self.repair.fresh_windows

    def apply(
        self,
        model: "PreTrainedModel",
        target: "float | SchemeBudget",
        windows: "Tensor | None" = None,
        *,
        fresh: "Tensor | None" = None,
        seed: int = 0,
        precision: Precision = "auto",
        report: Report = silent,
    ) -> Shrunk:
        """Make a model smaller in place; see :func:`autoprune.schemes.shrink`."""
        if windows is None and self.reads_text:
            raise UsageError(f"{self.text!r} reads calibration text and none is given")
        if isinstance(target, SchemeBudget):
            dense = target.bytes_of(model)
            share, found = target.share(model, self.scheme, windows, report=report)
            made = self.apply(
                model, share, windows, fresh=fresh, seed=seed, precision=precision, report=report
            )
            if target.budget.unit == "sparsity":
                return made
            facts = {"asked": str(target.budget), **found, **target.reached(model, dense)}
            return replace(made, budget=facts)
        if windows is None or not self.repair.acts:
            return shrink(model, self.scheme, target, windows, seed=seed, report=report)
        repairing = partial(
            _repairing, self.repair, windows, fresh=fresh, seed=seed, precision=precision,
            report=report,
        )  # fmt: skip
        return shrink(
            model, self.scheme, target, windows, seed=seed, repair=repairing, report=report
        )


def _repairing(
    repair: Repair,
    windows: "Tensor",
    dense: "PreTrainedModel",
    plan: SchemePlan,
    *,
    fresh: "Tensor | None",
    seed: int,
    precision: Precision,
    report: Report,
) -> "Callable[[PreTrainedModel], Sequence[str]]":
    """Keep what a dense model teaches the smaller one; see :func:`autoprune.schemes.shrink`."""
    how = repair.recovery
    teacher = None
    if how is not None:
        teacher = teach(dense, how, fresh, windows, precision=precision, report=report)
    # Where nothing goes, every block gives what it gave.
    tuning = repair.block if plan.steps else None
    kept = plan.kept_blocks(len(find_blocks(dense)))
    # Let go before a recovery.
    held = [] if tuning is None else [sharing(dense)]

    def repaired(smaller: "PreTrainedModel") -> list[str]:
        notes: list[str] = []
        options: dict[str, Any] = {"seed": seed, "precision": precision, "report": report}
        if tuning is not None:
            notes += tune_stretches(smaller, held.pop(), kept, windows, tuning, **options)
        if teacher is not None and how is not None:
            moved = movable(smaller, masters_of(prunable_linears(smaller)))
            notes += recover(smaller, teacher, moved, how, **options)
        return notes

    return repaired


@contextmanager
def shrunken(
    bench: "Bench",
    how: Shrinking,
    target: float | SchemeBudget,
    draw: int = 0,
    *,
    seed: int = 0,
    precision: Precision = "auto",
) -> Iterator[Shrunk]:
    """Replace the bench's model by a smaller copy for the body of a ``with`` statement."""
    windows = bench.drawn_windows(draw) if how.reads_text else None
    fresh = bench.fresh_windows(how.fresh_windows, draw)
    smaller = copy.deepcopy(bench.loaded.model)
    with remembering(bench.scans):
        made = how.apply(
            smaller, target, windows, fresh=fresh, seed=seed, precision=precision,
            report=bench.report,
        )  # fmt: skip
    with bench.holding(smaller):
        yield made
