"""Masks of recipes that were measured a moment ago: rungs and the sealed end ask for them again."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autoprune.masking.packed import PackedMask
    from autoprune.models.structure import PrunableLinear
    from autoprune.pruning import PruneOutcome

# An eighth of a byte per weight: a dozen masks of a model with 160 M weights.
CAPACITY_BYTES = 256 << 20


@dataclass
class MaskMemory:
    """Packed masks by recipe, the least recently used forgotten first.

    Only for recipes without repair, whose weights follow from their masks.

    Args:
        capacity: Bytes of masks to keep.
    """

    capacity: int = CAPACITY_BYTES
    _known: "OrderedDict[str, tuple[PruneOutcome, dict[str, PackedMask]]]" = field(
        default_factory=OrderedDict
    )

    def keep(self, key: str, outcome: "PruneOutcome") -> None:
        """Remember what a recipe gave."""
        from autoprune.masking.packed import pack_mask

        packed = {name: pack_mask(mask) for name, mask in outcome.keep.items()}
        self._known[key] = (replace(outcome, keep={}), packed)
        while len(self._known) > 1 and self._bytes() > self.capacity:
            self._known.popitem(last=False)

    def apply(self, key: str, layers: "Sequence[PrunableLinear]") -> "PruneOutcome | None":
        """Prune dense layers as remembered; None when the recipe is not known."""
        import torch

        if key not in self._known:
            return None
        self._known.move_to_end(key)
        outcome, packed = self._known[key]
        for layer in layers:
            weight = layer.read().detach()
            keep = packed[layer.name].unpack().to(weight.device)
            layer.write(torch.where(keep, weight, torch.zeros((), dtype=weight.dtype)))
        return outcome

    def _bytes(self) -> int:
        return sum(len(mask.bits) for _, masks in self._known.values() for mask in masks.values())
