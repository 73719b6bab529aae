"""What an allocator may look at: the prunable layers, their weights and their statistics."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar, cast

from torch import Tensor

from autoprune.errors import UsageError
from autoprune.precision import where_float64_is

T = TypeVar("T")
Level = Literal["block", "projection"]


@dataclass(frozen=True)
class Unit:
    """A prunable linear layer, as an allocator sees it.

    Args:
        name: Unique dotted name.
        block: 0-based index of its block.
        numel: Number of weights.
    """

    name: str
    block: int
    numel: int


class AllocationContext(Protocol):
    """Read-only view of a model; see :class:`ModelContext` for the usual one."""

    @property
    def units(self) -> Sequence[Unit]:
        """Prunable layers in model order."""
        ...

    def weight(self, name: str) -> Tensor:
        """Weight of a unit, [o, i]."""
        ...

    def stats(self, name: str) -> Mapping[str, Tensor]:
        """Statistics of a unit's input, for example ``x_norm`` [i]."""
        ...

    def once(self, key: str, make: Callable[[], T]) -> T:
        """Result of ``make``, computed at most once per key (spectra and skews are costly)."""
        ...


class Layer(Protocol):
    """The part of :class:`autoprune.models.structure.PrunableLinear` that allocation needs."""

    @property
    def name(self) -> str:
        """Name of the matrix in the model."""

    @property
    def block(self) -> int:
        """Index of its block."""

    @property
    def numel(self) -> int:
        """Number of weights."""

    def read(self) -> Tensor:
        """The weights, [out, in]."""


class LayerStatistics(Protocol):
    """The part of :class:`autoprune.statistics.statistics.Statistics` that allocation needs."""

    def of(self, layer_name: str) -> Mapping[str, Tensor]:
        """Statistics of one layer, by name."""


@dataclass
class ModelContext:
    """Context over live layers and their statistics.

    Args:
        layers: Prunable layers in model order.
        statistics: Streamed statistics; None when only weights are available.
    """

    layers: Sequence[Layer]
    statistics: LayerStatistics | None = None
    _by_name: dict[str, Layer] = field(init=False, repr=False)
    _memory: dict[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self._by_name = {layer.name: layer for layer in self.layers}

    @property
    def units(self) -> list[Unit]:
        """Prunable layers in model order."""
        return [Unit(layer.name, layer.block, layer.numel) for layer in self.layers]

    def weight(self, name: str) -> Tensor:
        """Weight of a unit, float32 [o, i]."""
        return self._by_name[name].read().detach().float()

    def stats(self, name: str) -> Mapping[str, Tensor]:
        """Statistics of a unit's input.

        Raises:
            UsageError: If the context was made without statistics.
        """
        if self.statistics is None:
            raise UsageError(
                f"statistics of {name} were asked for, but none were collected; calibrate first or "
                "use an allocator that reads weights only (uniform, sdsa, alpha, ramp)"
            )
        return self.statistics.of(name)

    def once(self, key: str, make: Callable[[], T]) -> T:
        """Result of ``make``, computed at most once per key."""
        if key not in self._memory:
            self._memory[key] = make()
        return cast(T, self._memory[key])


def unit_groups(ctx: AllocationContext, level: Level) -> list[list[Unit]]:
    """Group the units that share one rate: by block, in block order, or each on its own."""
    if level == "projection":
        return [[unit] for unit in ctx.units]
    blocks: dict[int, list[Unit]] = {}
    for unit in ctx.units:
        blocks.setdefault(unit.block, []).append(unit)
    return [blocks[index] for index in sorted(blocks)]


def kind_of(name: str) -> str:
    """Kind of a unit: the last part of its name, without the number of a fused expert."""
    return name.rpartition(".")[2].partition("[")[0]


def assign(groups: Sequence[Sequence[Unit]], rates: Sequence[float]) -> dict[str, float]:
    """Give every unit the rate of its group."""
    pairs = zip(groups, rates, strict=True)
    return {unit.name: float(rate) for group, rate in pairs for unit in group}


def numels(ctx: AllocationContext) -> dict[str, int]:
    """Weights per unit, in model order."""
    return {unit.name: unit.numel for unit in ctx.units}


def wanda_scores(ctx: AllocationContext, name: str) -> Tensor:
    """``|W| * x_norm`` of a unit, [o, i], by which OWL and DLP measure layers.

    Placed on a device that supports float64, in which the scores are summed.
    """
    weight = where_float64_is(ctx.weight(name))
    return weight.abs() * ctx.stats(name)["x_norm"].to(weight.device)
