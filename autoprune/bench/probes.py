"""The few layers that stand for all when candidates are compared: one for each kind of input."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autoprune.models.structure import PrunableLinear
    from autoprune.statistics.statistics import Statistics


def probe_layers(
    layers: "Sequence[PrunableLinear]", statistics: "Statistics"
) -> "list[PrunableLinear]":
    """One layer for each kind of input and one for each shape, the smallest that will do.

    Layers that read the same tensor (q, k and v; gate and up) are of one kind. A metric that treats
    a kind or a shape in a way of its own does not pass for another one that way. Kinds come from
    different depths, so that neither early nor late blocks decide alone.

    Args:
        layers: All prunable layers of the model.
        statistics: Tells which layers share their input.

    Returns:
        For a llama four of them: of q, k, v the smallest, o, one of gate and up, down.
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
    # Statistics of a shared input are one tensor.
    return id(statistics.of(layer.name)["x_norm"])
