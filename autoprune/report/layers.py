"""Sparsity of layers, grouped by block and by projection."""

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

_NUMBER = re.compile(r"(?:^|\.)(\d+)(?=\.|$)")
_EXPERT = re.compile(r"\[\d+\]$")


@dataclass(frozen=True)
class BlockSparsity:
    """Share of zeros in one block.

    Args:
        block: Place in depth, from 0.
        share: Zeros among the block's prunable weights, weighted by size.
        projections: The same by projection, for example ``q_proj``; experts are taken together.
    """

    block: int
    share: float
    projections: Mapping[str, float]


def block_of(name: str) -> int:
    """Block number in a dotted name (``model.layers.3.mlp.up_proj``: 3), else 0."""
    found = _NUMBER.search(name)
    return int(found.group(1)) if found else 0


def projection_of(name: str) -> str:
    """Last part of a dotted name, without an expert number."""
    return _EXPERT.sub("", name.rpartition(".")[2])


def by_block(shares: Mapping[str, float], numel: Mapping[str, int]) -> list[BlockSparsity]:
    """Group shares of linears into blocks."""
    zeros: dict[int, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    sizes: dict[int, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for name, share in shares.items():
        block, projection, size = block_of(name), projection_of(name), max(1, numel.get(name, 1))
        zeros[block][projection] += share * size
        sizes[block][projection] += size
    return [
        BlockSparsity(
            block,
            sum(zeros[block].values()) / sum(sizes[block].values()),
            {name: zeros[block][name] / size for name, size in sizes[block].items()},
        )
        for block in sorted(zeros)
    ]


def overall(shares: Mapping[str, float], numel: Mapping[str, int]) -> float:
    """Share of zeros over all linears, weighted by size; 0 for none."""
    total = sum(numel.get(name, 1) for name in shares)
    return sum(share * numel.get(name, 1) for name, share in shares.items()) / total if total else 0
