"""Recent masks and repaired weights by recipe: later rungs and the sealed set reuse them."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from autoprune.masking.packed import pack_mask

if TYPE_CHECKING:
    from torch import Tensor, nn

    from autoprune.masking.packed import PackedMask
    from autoprune.models.structure import PrunableLinear
    from autoprune.pruning import PruneOutcome

# One bit per weight for masks and four bytes per kept weight for repaired models: enough for
# dozens of masks and a few repaired models of 100 M weights.
CAPACITY_BYTES = 1 << 30


@dataclass
class _Known:
    outcome: "PruneOutcome"
    masks: "dict[str, PackedMask]"
    values: "dict[str, Tensor] | None"
    vectors: "dict[str, Tensor]"

    @property
    def size(self) -> int:
        """Bytes held."""
        bits = sum(len(mask.bits) for mask in self.masks.values())
        values = [*(self.values or {}).values(), *self.vectors.values()]
        return bits + sum(value.numel() * value.element_size() for value in values)


@dataclass
class MaskMemory:
    """LRU cache of packed masks and of the kept weights of repaired models.

    Args:
        capacity: Bytes to keep.
    """

    capacity: int = CAPACITY_BYTES
    _known: "OrderedDict[str, _Known]" = field(default_factory=OrderedDict)

    def keep(
        self,
        key: str,
        outcome: "PruneOutcome",
        repaired: "Sequence[PrunableLinear] | None" = None,
        vectors: "Mapping[str, nn.Parameter] | None" = None,
    ) -> None:
        """Remember the result of a recipe."""
        packed = {name: pack_mask(mask) for name, mask in outcome.keep.items()}
        values = None
        if repaired is not None:
            weights = {layer.name: layer.read().detach() for layer in repaired}
            values = {name: weights[name].cpu()[mask] for name, mask in outcome.keep.items()}
        own = {name: value.detach().cpu().clone() for name, value in (vectors or {}).items()}
        self._known[key] = _Known(replace(outcome, keep={}), packed, values, own)
        self._known.move_to_end(key)
        self._forget()

    def outcome(self, key: str) -> "PruneOutcome | None":
        """What a recipe gave, with its masks; None when it is not known."""
        found = self._recall(key)
        if found is None:
            return None
        return replace(found.outcome, keep={n: mask.unpack() for n, mask in found.masks.items()})

    def apply(
        self,
        key: str,
        layers: "Sequence[PrunableLinear]",
        vectors: "Mapping[str, nn.Parameter]",
    ) -> "PruneOutcome | None":
        """Prune dense layers as remembered; None when the recipe is not known."""
        import torch

        outcome = self.outcome(key)
        if outcome is None:
            return None
        found = self._known[key]
        for layer in layers:
            keep = outcome.keep[layer.name]
            if found.values is None:
                layer.zero(keep)
                continue
            weight = layer.read()
            pruned = torch.zeros_like(weight)
            pruned[keep.to(weight.device)] = found.values[layer.name].to(weight)
            layer.write(pruned)
        for name, own in found.vectors.items():
            vectors[name].detach().copy_(own)
        return outcome

    def adopt(self, other: "MaskMemory") -> None:
        """Take over all entries of another memory, replacing those with the same key."""
        self._known.update(other._known)
        for key in other._known:
            self._known.move_to_end(key)
        self._forget()

    def _recall(self, key: str) -> _Known | None:
        if key not in self._known:
            return None
        self._known.move_to_end(key)
        return self._known[key]

    def _forget(self) -> None:
        """Drop the least recently used entries; the last one stays whatever its size."""
        while len(self._known) > 1 and self._bytes() > self.capacity:
            self._known.popitem(last=False)

    def _bytes(self) -> int:
        return sum(known.size for known in self._known.values())
