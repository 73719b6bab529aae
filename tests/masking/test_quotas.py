"""Budgets are exact to one weight; patterns and shares are refused when they make no sense."""

from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from autoprune.allocation.projection import project
from autoprune.budget import Budget
from autoprune.errors import DamagedFileError, UsageError
from autoprune.masking import (
    NM,
    PackedMask,
    budget_zeros,
    layer_quotas,
    masks_digest,
    pack_mask,
    parse_pattern,
    resolve_sparsity,
)

sizes = st.lists(st.integers(1, 5_000), min_size=1, max_size=12)


@given(sizes, st.floats(0, 0.999), st.integers(0, 1000))
def test_quotas_sum_to_the_budget_and_stay_within_one(
    numels: list[int], target: float, seed: int
) -> None:
    names = {f"l{i}": n for i, n in enumerate(numels)}
    generator = torch.Generator().manual_seed(seed)
    raw = {name: target + float(torch.randn((), generator=generator)) * 0.3 for name in names}
    rates = project(raw, names, target, 0.0, 1.0)
    quotas = layer_quotas(rates, names, target)
    assert sum(quotas.values()) == budget_zeros(target, sum(numels))
    for name, quota in quotas.items():
        assert 0 <= quota <= names[name]
        assert abs(quota - rates[name] * names[name]) < 1 + 1e-6


def test_budget_reads_the_decimal_and_rounds_half_to_even() -> None:
    assert budget_zeros(0.6, 106_168_320) == 63_700_992
    assert [budget_zeros(0.5, n) for n in (1, 3, 5)] == [0, 2, 2]
    assert budget_zeros(0.7, 10**15) == 7 * 10**14
    assert budget_zeros(1e-7, 10**9) == round(Fraction(1, 10**7) * 10**9)


def test_equal_remainders_go_to_the_earlier_layer() -> None:
    numels = {"a": 3, "b": 3, "c": 4}
    assert layer_quotas(dict.fromkeys(numels, 0.5), numels, 0.5) == {"a": 2, "b": 1, "c": 2}


def test_rates_that_miss_the_target_are_refused() -> None:
    with pytest.raises(UsageError, match=r"prune 0\.500000 of the weights, 0\.6 was asked"):
        layer_quotas({"a": 0.5}, {"a": 1000}, 0.6)
    with pytest.raises(UsageError, match="one rate per prunable layer"):
        layer_quotas({"a": 0.5, "x": 0.5}, {"a": 10, "b": 10}, 0.5)
    with pytest.raises(UsageError, match=r"rate 1\.2 of a"):
        layer_quotas({"a": 1.2}, {"a": 10}, 0.5)


@pytest.mark.parametrize("text", ["2/4", "4:2", "0:4", "4:4", "a:b", ""])
def test_wrong_patterns_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="N:M"):
        parse_pattern(text)


def test_sparsity_and_pattern_must_agree() -> None:
    assert parse_pattern("unstructured") is None
    assert resolve_sparsity(None, NM(2, 4)) == 0.5
    assert resolve_sparsity(0.25, NM(1, 4)) == 0.25
    for wrong in (-0.1, 1.0, 60.0, float("nan")):
        with pytest.raises(UsageError, match="outside 0 ≤ s < 1"):
            resolve_sparsity(wrong, None)
    with pytest.raises(UsageError, match=r"contradicts pattern 2:4"):
        resolve_sparsity(0.6, NM(2, 4))
    with pytest.raises(UsageError, match="no sparsity"):
        resolve_sparsity(None, None)


def test_a_budget_is_shown_in_its_unit_and_a_speed_is_finite() -> None:
    shown = [str(Budget(0.6, "unstructured")), str(Budget(0.6)), str(Budget(pattern="2:4"))]
    assert shown == ["60 %", "60 %", "2:4"]
    for wrong in (float("inf"), float("nan"), 1.0):
        with pytest.raises(UsageError, match="a finite number above 1"):
            Budget(faster=wrong)


@given(st.integers(1, 9), st.integers(1, 17), st.integers(0, 99))
def test_packed_masks_come_back_bit_by_bit(rows: int, columns: int, seed: int) -> None:
    keep = torch.rand(rows, columns, generator=torch.Generator().manual_seed(seed)) > 0.5
    packed = pack_mask(keep)
    assert len(packed.bits) == (rows * columns + 7) // 8
    assert torch.equal(packed.unpack(), keep)
    other = keep.clone()
    other[0, 0] = ~other[0, 0]
    assert pack_mask(other).digest != packed.digest


def test_the_digest_names_the_mask_not_the_order_of_layers() -> None:
    first, second = torch.ones(2, 3, dtype=torch.bool), torch.zeros(3, 2, dtype=torch.bool)
    assert masks_digest({"a": first, "b": second}) == masks_digest({"b": second, "a": first})
    assert masks_digest({"a": first}) != masks_digest({"b": first})
    assert pack_mask(first).digest != pack_mask(first.view(3, 2)).digest
    with pytest.raises(DamagedFileError, match="2 bytes"):
        PackedMask(b"ab", (2, 3)).unpack()
