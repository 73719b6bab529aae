"""Shares of linears gather into blocks without losing a zero."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoprune.report.layers import block_of, by_block, overall, projection_of

shares = st.lists(
    st.tuples(st.integers(0, 5), st.floats(0, 1), st.integers(1, 10**6)), min_size=1, max_size=30
)


@pytest.mark.parametrize(
    ("name", "block", "projection"),
    [
        ("model.layers.12.self_attn.q_proj", 12, "q_proj"),
        ("transformer.h.3.mlp.c_fc", 3, "c_fc"),
        ("model.layers.1.mlp.experts.gate_up_proj[7]", 1, "gate_up_proj"),
        ("lm_head", 0, "lm_head"),
    ],
)
def test_names(name: str, block: int, projection: str) -> None:
    assert block_of(name) == block
    assert projection_of(name) == projection


@given(shares)
def test_weighted_mean_of_blocks_is_the_overall_share(
    parts: list[tuple[int, float, int]],
) -> None:
    names = [f"layers.{block}.linear{i}" for i, (block, _, _) in enumerate(parts)]
    values = {name: share for name, (_, share, _) in zip(names, parts, strict=True)}
    numel = {name: size for name, (_, _, size) in zip(names, parts, strict=True)}
    blocks = by_block(values, numel)
    sizes = {
        b.block: sum(n for name, n in numel.items() if block_of(name) == b.block) for b in blocks
    }
    mean = sum(b.share * sizes[b.block] for b in blocks) / sum(sizes.values())
    assert mean == pytest.approx(overall(values, numel), abs=1e-12)
    assert [b.block for b in blocks] == sorted({block for block, _, _ in parts})
