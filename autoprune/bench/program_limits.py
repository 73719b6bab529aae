"""Time and memory that a program may use, derived from the sizes of the layers."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from autoprune.bench.block_programs import held_out
from autoprune.program_files import prunes_blocks
from autoprune.programs import READS

if TYPE_CHECKING:
    from autoprune.models.structure import PrunableLinear

BASE_S = 20.0
# A program may take as long as this many products of the layer with an [in, in] matrix...
PRODUCTS = 200
# ... on a core this slow: a tenth of the speed of a current core.
FLOPS = 1e10
# A block program may also take this many times the block's passes with gradients on all its text.
PASSES = 16
BASE_BYTES = 768 << 20
# Multiple of the input of one call: a layer's weight and Gram matrix; a block with hidden states.
INPUTS = 8.0
# They read what q_proj or gate_proj reads.
SHARING = frozenset({"k_proj", "v_proj", "up_proj"})


@dataclass(frozen=True)
class ProgramLimits:
    """Resources that a program may use, derived from the sizes of the layers.

    Args:
        seconds: Time for all layers of one call together.
        memory_bytes: Memory of the container.
    """

    seconds: float
    memory_bytes: int

    @classmethod
    def of(
        cls,
        shapes: Iterable[tuple[int, int]],
        tokens: int = 0,
        inputs: Sequence[int] | None = None,
    ) -> "ProgramLimits":
        """Limits for what is pruned in one call."""
        shapes, seconds = list(shapes), BASE_S
        for rows, columns in shapes:
            # A pass and its gradients are three products of each weight with each token.
            flops = 2 * (rows * columns**2 + columns**3) * PRODUCTS
            seconds += (flops + 6 * rows * columns * tokens * PASSES) / FLOPS
        weights = [4 * rows * columns for rows, columns in shapes]
        widths = [columns for _, columns in shapes]
        if tokens:
            statistics = sum(map(_statistics_bytes, widths if inputs is None else inputs))
            given = sum(weights) + statistics + 8 * tokens * min(widths)
        else:
            pairs = zip(weights, widths, strict=True)
            given = max((own + _statistics_bytes(width) for own, width in pairs), default=0)
        return cls(math.ceil(seconds), BASE_BYTES + int(INPUTS * given))

    def to_json(self) -> dict[str, float]:
        """Plain JSON form."""
        return {"seconds": self.seconds, "memory_mb": self.memory_bytes / 1e6}


def _statistics_bytes(columns: int) -> int:
    """Size of a Gram matrix and the vectors that go with it, float32."""
    return 4 * columns * (columns + len(READS) - 1)


def limits_of(
    layers: "Iterable[PrunableLinear]",
    windows: int = 0,
    seqlen: int = 0,
    source: str | None = None,
) -> ProgramLimits:
    """Limits of the model's largest block."""
    tokens = held_out(windows)[0] * seqlen
    tokens = tokens if source is None or prunes_blocks(source) else 0
    blocks: dict[int, list[PrunableLinear]] = {}
    for layer in layers:
        blocks.setdefault(layer.block, []).append(layer)
    found = []
    for members in blocks.values():
        inputs = [layer.shape[1] for layer in members if layer.projection not in SHARING]
        found.append(ProgramLimits.of([layer.shape for layer in members], tokens, inputs))
    return max(found, key=lambda limits: limits.seconds, default=ProgramLimits.of([]))
