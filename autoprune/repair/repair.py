"""A complete repair: what to do to each layer, block and the model, and in which order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self

import torch
from torch import Tensor

from autoprune.candidate import Group
from autoprune.errors import UsageError
from autoprune.masking.pattern import NM
from autoprune.repair.block import BlockTuning
from autoprune.repair.layer import LayerRepair, Repaired, repair_in_turn
from autoprune.repair.parts import EBFT, NONE, RECOVER, REPAIRS, WALK, RepairPart
from autoprune.repair.recover import ModelRecovery

Order = Literal["at once", "block by block"]
# The repair that a bare ``walk`` runs.
USUAL = "mrp"


@REPAIRS.register(WALK)
@dataclass(frozen=True)
class Walk(RepairPart):
    """Run another repair with statistics of the model as repaired so far: ``walk:mrp``.

    A marker only: it stands for the order of a :class:`Repair`.
    """

    NAME: ClassVar[str] = WALK
    SOURCE: ClassVar[str] = "block order of SparseGPT, arXiv 2301.00774"


@dataclass(frozen=True)
class Repair:
    """What to do with the kept weights.

    Args:
        layer: Repairs applied to each layer in turn: first those that choose the mask, last one
            that moves weights. Each starts from the dense weight and the previous mask:
            ``dsnot+mrp``, ``sparsegpt:select=own+mrp``. Every part but the last must therefore
            choose a mask, and if one of them moves weights, so must the last. If empty, pruned
            weights are only zeroed.
        block: Tuning of the whole block afterwards.
        order: ``at once`` uses statistics of the dense model. ``block by block`` uses those of the
            model as repaired so far, so the model has to run. Masks still come from the dense model
            unless pruning itself goes block by block.
        recovery: Recovery of the whole model at the end.

    Raises:
        UsageError: If a part's work would be lost (names an order that loses none), block tuning is
            not done block by block, or the order gains nothing.
    """

    layer: tuple[LayerRepair, ...] = ()
    block: BlockTuning | None = None
    order: Order = "at once"
    recovery: ModelRecovery | None = None

    def __post_init__(self) -> None:
        _refuse_lost_work(self.layer)
        _refuse_forgotten_masks(self.layer)
        # By now, a part that neither chooses nor moves weights stands alone and does nothing.
        acting = tuple(part for part in self.layer if part.chooses or part.MOVES_WEIGHTS)
        object.__setattr__(self, "layer", acting)
        if self.block is not None and not self.walks:
            raise UsageError(
                f"repair {self.text!r} tunes blocks, each on what the ones before it give; its "
                f"order must be 'block by block', not {self.order!r}"
            )
        if self.walks and self.block is None and not self.needs:
            raise UsageError(
                f"repair 'walk': {_joined(self.layer)!r} reads no statistics, so there is nothing "
                "to gain by walking; write walk:mrp or walk:sparsegpt"
            )

    @property
    def walks(self) -> bool:
        """Whether the model has to run block by block."""
        return self.order == "block by block"

    @property
    def acts(self) -> bool:
        """Whether anything is done beyond zeroing."""
        return bool(self.layer) or self.block is not None or self.recovery is not None

    @property
    def needs(self) -> frozenset[str]:
        """Statistics that the repairs of a layer read."""
        return frozenset[str]().union(*(part.needs for part in self.layer))

    @property
    def moves_vectors(self) -> bool:
        """Whether norms and biases may change."""
        return self.recovery is not None

    @property
    def fresh_windows(self) -> int:
        """Calibration windows that it reads in addition to those for statistics and tuning."""
        return 0 if self.recovery is None else self.recovery.windows

    @property
    def parts(self) -> tuple[RepairPart, ...]:
        """The active elements of :attr:`text`, ``walk`` first."""
        walk = (Walk(),) if self.walks else ()
        last = (part for part in (self.block, self.recovery) if part is not None)
        return (*walk, *self.layer, *last)

    @property
    def text(self) -> str:
        """Canonical text, which :meth:`parse` reads.

        Block tuning implies walking, so ``walk:`` is written only without it.
        """
        if self.recovery is not None:
            before = replace(self, recovery=None)
            own = self.recovery.text
            return f"{before.text}+{own}" if before.acts else own
        if self.block is not None:
            return "+".join(part.text for part in (*self.layer, self.block))
        return f"{WALK}:{_joined(self.layer)}" if self.walks else _joined(self.layer)

    def forgets(self, group: Group) -> bool:
        """Whether only the zero counts of masks chosen within ``group`` matter.

        The first part decides, since later ones start from its mask. If so, two metrics with the
        same budgets give the same result, except for rows that fall back to plain zeroing.
        """
        return bool(self.layer) and self.layer[0].forgets(group)

    def repair(
        self,
        weight: Tensor,
        keep: Tensor,
        stats: Mapping[str, Tensor],
        pattern: NM | None = None,
        saved: torch.dtype | None = None,
    ) -> Repaired:
        """Repair one layer by all of :attr:`layer`; see :meth:`LayerRepair.repair`."""
        return repair_in_turn(self.layer, weight, keep, stats, pattern, saved)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``NAME``, ``NAME:key=value,...`` or several joined by ``+``.

        A leading ``walk:`` or a final ``ebft`` means block by block; ``recover`` comes after
        everything else.

        Raises:
            UnknownNameError: If no repair has the name; suggests the nearest.
            UsageError: If a parameter is unknown or out of range, or the parts do not fit together.
        """
        whole, _, final = (part.strip() for part in text.rpartition("+"))
        name, _, values = final.partition(":")
        if name.strip() == RECOVER:
            if whole.rpartition("+")[2].strip().partition(":")[0] == RECOVER:
                raise UsageError(f"repair {text!r} names {RECOVER} twice; name it once, at the end")
            before = cls.parse(whole) if whole else cls()
            return replace(before, recovery=ModelRecovery.from_text(values))
        head, _, after = text.strip().partition(":")
        walks = head.strip() == WALK
        rest = (after if walks else text).strip() or (USUAL if walks else "")
        front, _, last = (part.strip() for part in rest.rpartition("+"))
        name, _, values = last.partition(":")
        if not walks and name != EBFT:
            return cls(_layer_repairs(text))
        if rest.partition("+")[0].partition(":")[0].strip() == WALK:
            raise UsageError(
                f"repair {WALK!r} needs the repair that walks, not {rest!r}; "
                f"write {WALK}:mrp or {WALK}:dsnot+mrp"
            )
        if name != EBFT:
            return cls(_layer_repairs(rest), order="block by block")
        if front.rpartition("+")[2].strip().partition(":")[0] == EBFT:
            raise UsageError(f"repair {rest!r} names {EBFT} twice; name it once, at the end")
        layer = _layer_repairs(front) if front else ()
        return cls(layer, BlockTuning.from_text(values), "block by block")


def _layer_repairs(text: str) -> tuple[LayerRepair, ...]:
    parts = []
    for name, _, values in (piece.strip().partition(":") for piece in text.split("+")):
        if name == WALK:
            raise UsageError(
                f"repair {text!r} is not understood; {WALK}: stands before the whole repair, as in "
                f"{WALK}:dsnot+mrp"
            )
        if name == EBFT:
            raise UsageError(
                f"repair {text!r} is not understood; {EBFT} tunes what the other repairs of a "
                f"block have left and stands last, as in mrp+{EBFT}"
            )
        if name == RECOVER:
            raise UsageError(
                f"repair {text!r} is not understood; {RECOVER} trains the whole model when all "
                f"else is done and stands last, as in {EBFT}+{RECOVER}"
            )
        if not name:
            raise UsageError(f"repair {text!r} is not understood; write NAME or NAME+NAME")
        kind = REPAIRS.get(name)
        if not issubclass(kind, LayerRepair):
            raise UsageError(
                f"repair {name!r} is a {kind.__name__}, which repairs no layer; a plug-in derives "
                "its class from autoprune.repair.LayerRepair"
            )
        parts.append(kind.from_text(values))
    return tuple(parts)


def _refuse_forgotten_masks(parts: Sequence[LayerRepair]) -> None:
    """Refuse a part whose mask a later one replaces without reading it."""
    for place, part in enumerate(parts):
        if part.forgets("matrix"):
            lost = parts[:place]
        elif part.forgets("row"):
            # Zeros that were moved between rows still count.
            lost = [one for one in parts[:place] if one.KEEPS_ROWS]
        else:
            continue
        if lost:
            rest = [one for one in parts if all(one is not other for other in lost)]
            raise UsageError(
                f"repair {_joined(parts)!r} would lose what {lost[0].text!r} does, since "
                f"{part.text!r} chooses its mask anew from the number of zeros; write "
                f"{_joined(rest)}"
            )


def _joined(parts: Sequence[LayerRepair]) -> str:
    return "+".join(part.text for part in parts) or NONE


def _refuse_lost_work(parts: Sequence[LayerRepair]) -> None:
    """Refuse a sequence in which a part's work would be lost."""
    if len(parts) < 2:
        return
    *before, last = parts
    lost = [part for part in before if not part.chooses]
    if not last.MOVES_WEIGHTS:
        lost += [part for part in before if part.MOVES_WEIGHTS]
        lost += [] if last.chooses else [last]
    if not lost:
        return
    # Stable, so parts already in order stay as written.
    ranked = sorted(parts, key=lambda part: (part.MOVES_WEIGHTS, not part.chooses))
    useful = [p for p in ranked if p.chooses or (p is ranked[-1] and p.MOVES_WEIGHTS)]
    order = "+".join(part.text for part in useful or [last])
    raise UsageError(
        f"repair {_joined(parts)!r} would lose what {lost[0].text!r} does, since each part starts "
        "from the dense weights and takes over only the mask; write what chooses the mask "
        f"first, one repair that moves weights last: {order}"
    )
