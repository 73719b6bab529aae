"""The few layers that represent all when candidates are compared: one for each kind of input."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autoprune.models.structure import PrunableLinear
    from autoprune.statistics.statistics import Statistics


def probe_layers(
    layers: "Sequence[PrunableLinear]", statistics: "Statistics"
) -> "list[PrunableLinear]":
    """Pick the smallest layer for each kind of input and for each shape.

    Layers that read the same tensor (q, k and v; gate and up) are of one kind. With all kinds and
    shapes covered, a metric that treats one of them differently is not mistaken for another
    metric. Kinds come from different depths, so neither early nor late blocks decide alone.
    """
    readers: dict[int, set[str]] = {}
    for layer in layers:
        readers.setdefault(_input_of(layer, statistics), set()).add(layer.projection)
    alike: dict[tuple[frozenset[str], tuple[int, int]], list[PrunableLinear]] = {}
    for layer in layers:
        kind = frozenset(readers[_input_of(layer, statistics)])
        alike.setdefault((kind, layer.shape), []).append(layer)
    kinds: set[frozenset[str]] = set()
    shapes: set[tuple[int, int]] = set()
    chosen: list[list[PrunableLinear]] = []
    by_size = sorted(alike.items(), key=lambda item: item[1][0].numel)
    for want_kind in (True, False):
        for (kind, shape), members in by_size:
            if (kind not in kinds) if want_kind else (shape not in shapes):
                kinds.add(kind)
                shapes.add(shape)
                chosen.append(members)
    last = max(1, len(chosen) - 1)
    picks = (group[round(i * (len(group) - 1) / last)] for i, group in enumerate(chosen))
    order = {layer.name: place for place, layer in enumerate(layers)}
    return sorted(picks, key=lambda layer: order[layer.name])


def _input_of(layer: "PrunableLinear", statistics: "Statistics") -> int:
    # Layers that share an input also share its statistics tensor.
    return id(statistics.of(layer.name)["x_norm"])
