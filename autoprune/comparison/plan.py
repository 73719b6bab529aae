"""The cells of a comparison: methods x budgets x calibration draws."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby, product
from typing import Any

from autoprune.budget import Budget
from autoprune.comparison.methods import Method
from autoprune.errors import UsageError
from autoprune.masking import parse_pattern, resolve_sparsity
from autoprune.names import DENSE, UNSTRUCTURED


@dataclass(frozen=True)
class Target:
    """A budget.

    Args:
        sparsity: Share of the prunable weights to zero, or the amount in another unit.
        pattern: ``unstructured``, N:M, or the unit of a scheme's budget: ``bytes``, ``faster``.
    """

    sparsity: float
    pattern: str = UNSTRUCTURED

    @property
    def label(self) -> str:
        """``50 %``, ``2:4``, ``25 % of the bytes`` or ``1.3 times the speed``."""
        if self.pattern in Budget.OF_SCHEMES:
            return str(self.budget)
        return f"{100 * self.sparsity:g} %" if self.pattern == UNSTRUCTURED else self.pattern

    @property
    def timed(self) -> bool:
        """Whether the machine decides how much is removed."""
        return self.pattern == "faster"

    @property
    def budget(self) -> Budget:
        """The budget as a scheme takes it."""
        if self.pattern == UNSTRUCTURED:
            return Budget(self.sparsity)
        if self.pattern not in Budget.OF_SCHEMES:
            raise UsageError(
                f"a scheme removes a share of the blocks' parameters, and {self.pattern} is a "
                "pattern of zeros; compare schemes at --sparsity, --bytes or --faster"
            )
        if self.pattern == "bytes":
            return Budget(bytes=self.sparsity)
        return Budget(faster=self.sparsity)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON form."""
        return asdict(self)


@dataclass(frozen=True)
class Cell:
    """One measurement: prune, measure, restore.

    Args:
        method: The pruning method; None for the dense model.
        target: The budget; None for the dense model.
        seed: Number of the calibration draw.
        sealed: Whether the sealed part is measured too; a tuning trial never sees it.
    """

    method: Method | None
    target: Target | None
    seed: int = 0
    sealed: bool = True

    @property
    def title(self) -> str:
        """Title for progress reports: ``wanda at 50 %, seed 0``."""
        if self.method is None or self.target is None:
            return DENSE
        trial = "" if self.sealed else " (trial)"
        return f"{self.method.name} at {self.target.label}, seed {self.seed}{trial}"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON form; :meth:`from_json` reads it back."""
        method = None if self.method is None else self.method.to_json()
        return asdict(self) | {"method": method}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Cell":
        """Inverse of :meth:`to_json`."""
        method, target = value["method"], value["target"]
        return cls(
            None if method is None else Method.from_json(method),
            None if target is None else Target(**target),
            value["seed"],
            value["sealed"],
        )


def parse_targets(
    sparsities: Sequence[float], patterns: Sequence[str], units: Mapping[str, Sequence[float]] = {}
) -> tuple[Target, ...]:
    """Read the budgets of a comparison, unstructured ones first, without repeats."""
    found = [Target(resolve_sparsity(float(share), None)) for share in sparsities]
    for text in patterns:
        pattern = parse_pattern(text.strip())
        if pattern is not None:
            found.append(Target(pattern.share, str(pattern)))
    found += [Target(value, unit) for unit, values in units.items() for value in values]
    if not found:
        raise UsageError("no budget to compare at; give --sparsity 0.5,0.6 or --pattern 2:4")
    return tuple(dict.fromkeys(found))


def cells_in_order(
    methods: Sequence[Method], targets: Sequence[Target], seeds: int
) -> Iterator[Cell]:
    """Yield the cells draw by draw, because the cells of a draw share its statistics."""
    for seed in range(seeds):
        for _, same in groupby(methods, lambda method: method.calibration):
            yield from (Cell(m, target, seed) for target, m in product(targets, tuple(same)))
