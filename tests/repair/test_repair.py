"""MRP and SparseGPT against brute force and closed forms; promises that hold for every repair."""

import weakref
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from autoprune.errors import UnknownNameError, UsageError
from autoprune.masking import NM, keep_nm, keep_rows
from autoprune.repair import (
    REPAIRS,
    Mrp,
    Plain,
    Repair,
    RepairPart,
    SparseGpt,
    SparseSwaps,
    output_errors,
    sparsegpt,
)
from autoprune.repair.layer import Problem

TEXTS = [name for name, _ in REPAIRS.items()]
CHAINS = ["sparsegpt:select=own", "mrp:select=own", "mrp:columns=5", "mrp:form=pruned"]


def make_problem(
    rows: int,
    width: int,
    share: float,
    seed: int,
    tokens: int = 400,
    dtype: torch.dtype = torch.float64,
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """A layer with correlated inputs of very different scale, and its Wanda mask."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(width, width, generator=generator, dtype=dtype)
    scales = torch.randn(width, generator=generator, dtype=dtype).exp()
    x = torch.randn(tokens, width, generator=generator, dtype=dtype) @ mixing * scales + 0.3
    weight = torch.randn(rows, width, generator=generator, dtype=dtype)
    gram = x.t() @ x / tokens
    norm = gram.diagonal().sqrt()
    stats = {"gram": gram, "x_norm": norm, "x_mean": x.mean(0), "x_var": x.var(0, correction=0)}
    keep = keep_rows(weight.abs() * norm, round(share * weight.numel()))
    return weight, keep, stats


def normal_equations(weight: Tensor, keep: Tensor, gram: Tensor, damp: float) -> Tensor:
    """The repaired weight row by row with a plain dense solve."""
    matrix = gram + damp * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    result = torch.zeros_like(weight)
    for row in range(len(weight)):
        k = keep[row].nonzero().squeeze(1)
        result[row, k] = torch.linalg.solve(matrix[k][:, k], (weight[row] @ matrix)[k])
    return result


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.8, 0.97])
@pytest.mark.parametrize("form", ["kept", "pruned", "auto"])
@pytest.mark.parametrize("damp", [0.01, 20.0])
def test_mrp_forms_equal_the_normal_equations(share: float, form: str, damp: float) -> None:
    weight, keep, stats = make_problem(7, 24, share, seed=1)
    repaired = Repair.parse(f"mrp:damp={damp:g},form={form}").repair(weight, keep, stats)
    reference = normal_equations(weight, keep, stats["gram"], damp)
    assert torch.allclose(repaired.weight, reference, rtol=1e-7, atol=1e-9)
    assert torch.equal(repaired.keep, keep) and repaired.notes == ()


def test_mrp_loss_equals_the_closed_form_and_grows_with_the_pruned_set() -> None:
    weight, keep, stats = make_problem(5, 20, 0.5, seed=2)
    repair = Repair.parse("mrp:damp=0")
    inverse = torch.linalg.inv(stats["gram"])
    repaired = repair.repair(weight, keep, stats).weight
    losses = output_errors(repaired - weight, stats["gram"])
    for row in range(5):
        p = (~keep[row]).nonzero().squeeze(1)
        w = weight[row, p]
        closed = w @ torch.linalg.solve(inverse[p][:, p], w)
        assert float(losses[row]) == pytest.approx(float(closed), rel=1e-6)
    fewer = keep.clone()
    fewer[:, 0] = False
    more = output_errors(repair.repair(weight, fewer, stats).weight - weight, stats["gram"])
    assert bool((more >= losses * (1 - 1e-9)).all())


def test_column_blocks_converge_to_the_exact_solution() -> None:
    weight, keep, stats = make_problem(6, 23, 0.5, seed=3)
    exact = Repair.parse("mrp").repair(weight, keep, stats).weight
    errors = []
    # After 250 they differ by a hundred millionth of what is allowed here.
    for sweeps in (1, 2, 5, 250):
        blocks = Repair.parse(f"mrp:columns=5,sweeps={sweeps}").repair(weight, keep, stats).weight
        errors.append(float(output_errors(blocks - weight, stats["gram"]).sum()))
    assert errors[0] >= errors[1] >= errors[2] * (1 - 1e-9)
    assert torch.allclose(blocks, exact, rtol=1e-4, atol=1e-5)


def test_sparsegpt_equals_sequential_single_removals() -> None:
    weight, keep, stats = make_problem(4, 12, 0.5, seed=4)
    gram = stats["gram"]
    matrix = gram + 0.01 * gram.diagonal().mean() * torch.eye(12, dtype=gram.dtype)
    reference = weight.clone()
    for row in range(4):
        for column in range(12):
            if not keep[row, column]:
                # Single removal among the columns that are still free, the OBS formula.
                inverse = torch.linalg.inv(matrix[column:, column:])
                step = reference[row, column] / inverse[0, 0] * inverse[0]
                reference[row, column:] -= step
    for columns in (3, 5, 12, 128):
        found = Repair.parse(f"sparsegpt:columns={columns}").repair(weight, keep, stats)
        assert torch.allclose(found.weight, reference * keep, rtol=1e-7, atol=1e-9)


def swept_by_definition(
    weight: Tensor, gram: Tensor, columns: int, zeros: int, pattern: NM | None
) -> tuple[Tensor, Tensor]:
    """SparseGPT with a mask of its own, as arXiv 2301.00774 writes it: column after column."""
    width = weight.shape[1]
    matrix = gram + 0.01 * gram.diagonal().mean() * torch.eye(width, dtype=gram.dtype)
    upper = torch.linalg.cholesky(torch.linalg.inv(matrix), upper=True)
    weight, keep = weight.clone(), torch.ones_like(weight, dtype=torch.bool)
    group = pattern.of if pattern else columns
    for column in range(width):
        if column % group == 0:
            part = slice(column, column + group)
            saliency = weight[:, part] ** 2 / upper.diagonal()[part] ** 2
            rows = saliency if pattern else saliency.reshape(1, -1)
            lowest = rows.argsort(dim=1, stable=True)[:, : pattern.zeros if pattern else zeros]
            chosen = torch.ones_like(rows, dtype=torch.bool).scatter(1, lowest, False)
            keep[:, part] = chosen.view_as(saliency)
        error = torch.where(keep[:, column], 0.0, weight[:, column]) / upper[column, column]
        weight[:, column:] -= error.unsqueeze(1) * upper[column, column:]
    return weight * keep, keep


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("columns", [8, 16, 32])
@pytest.mark.parametrize("pattern", [None, NM(2, 4), NM(4, 8)])
def test_sparsegpt_chooses_its_mask_by_definition(
    pattern: NM | None, columns: int, seed: int
) -> None:
    weight, keep, stats = make_problem(6, 32, 0.5, seed=20 + seed)
    if pattern:
        keep = keep_nm(weight.abs() * stats["x_norm"], pattern)
    repair = SparseGpt(select="own", columns=columns)
    found, kept = repair.solve(Problem(weight, keep, stats, pattern))
    expected, mask = swept_by_definition(weight, stats["gram"], columns, 3 * columns, pattern)
    assert torch.equal(kept, mask)
    assert not torch.equal(kept, keep)
    assert torch.allclose(found * kept, expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_mrp_is_at_least_as_good_as_sparsegpt_on_the_same_mask(seed: int) -> None:
    weight, keep, stats = make_problem(8, 32, 0.6, seed=seed)
    gram = stats["gram"]
    matrix = gram + 0.01 * gram.diagonal().mean() * torch.eye(32, dtype=gram.dtype)
    mrp = output_errors(Repair.parse("mrp").repair(weight, keep, stats).weight - weight, matrix)
    obs = Repair.parse("sparsegpt").repair(weight, keep, stats).weight
    assert bool((mrp <= output_errors(obs - weight, matrix) * (1 + 1e-9)).all())


@pytest.mark.parametrize("text", TEXTS + CHAINS)
@given(
    st.integers(1, 6),
    st.integers(2, 5),
    st.floats(0, 0.99),
    st.integers(0, 10**6),
    st.integers(1, 40),
)
@settings(max_examples=25, deadline=None)
def test_zeros_are_exact_and_the_error_never_rises(
    text: str, rows: int, quarters: int, share: float, seed: int, tokens: int
) -> None:
    weight, keep, stats = make_problem(rows, 4 * quarters, share, seed, tokens)
    repaired = Repair.parse(text).repair(weight, keep, stats)
    assert bool((repaired.weight[~repaired.keep] == 0).all())
    assert int(repaired.keep.sum()) == int(keep.sum())
    before = output_errors(weight * keep - weight, stats["gram"])
    after = output_errors(repaired.weight - weight, stats["gram"])
    if torch.equal(repaired.keep.sum(1), keep.sum(1)):
        assert bool((after <= before).all())
    assert float(after.sum()) <= float(before.sum())


@pytest.mark.parametrize("text", TEXTS + CHAINS)
def test_patterns_survive_repair(text: str) -> None:
    pattern = NM(2, 4)
    weight, _, stats = make_problem(6, 24, 0.5, seed=5)
    keep = keep_nm(weight.abs() * stats["x_norm"], pattern)
    repaired = Repair.parse(text).repair(weight, keep, stats, pattern)
    assert bool((repaired.keep.view(6, -1, 4).sum(2) == 2).all())


@pytest.mark.parametrize("text", ["mrp:damp=0", "sparsegpt:damp=0", "alps:damp=1e-18"])
def test_singular_gram_raises_the_damping_and_says_so(text: str) -> None:
    weight, keep, stats = make_problem(3, 16, 0.5, seed=6, tokens=4)
    repaired = Repair.parse(text).repair(weight, keep, stats)
    asked = text.partition("=")[2]
    assert any(f"damping raised from {asked} to" in note for note in repaired.notes)
    assert bool(torch.isfinite(repaired.weight).all())


def test_dead_inputs_and_empty_masks_are_no_special_case() -> None:
    weight, keep, stats = make_problem(3, 8, 0.5, seed=7)
    dead = {"gram": torch.zeros(8, 8, dtype=torch.float64)}
    assert torch.equal(
        Repair.parse("mrp").repair(weight, keep, dead).weight[~keep], torch.zeros(12).double()
    )
    gone = torch.zeros_like(keep)
    assert not Repair.parse("mrp").repair(weight, gone, stats).weight.any()
    whole = Repair.parse("mrp").repair(weight, ~gone, stats).weight
    assert torch.allclose(whole, weight, rtol=1e-9)


def test_overflowed_or_missing_gram_is_refused() -> None:
    weight, keep, stats = make_problem(3, 8, 0.5, seed=8)
    with pytest.raises(UsageError, match="collect the statistic 'gram'"):
        Repair.parse("mrp").repair(weight, keep, {})
    stats["gram"][0, 0] = float("inf")
    with pytest.raises(UsageError, match="half precision"):
        Repair.parse("mrp").repair(weight, keep, stats)


def test_low_precision_weights_are_repaired_in_float32() -> None:
    weight, keep, stats = make_problem(3, 8, 0.5, seed=9)
    repaired = Repair.parse("mrp").repair(weight.bfloat16(), keep, stats)
    assert repaired.weight.dtype == torch.float32


@pytest.mark.parametrize("text", ["mrp", "sparsegpt", "alps", "sparseswaps+mrp"])
def test_no_row_is_worse_than_zeroed_plainly_after_rounding(text: str) -> None:
    generator = torch.Generator().manual_seed(0)
    common = torch.randn(400, 1, generator=generator)
    x = common + 0.3 * torch.randn(400, 16, generator=generator)
    gram = x.t() @ x / len(x)
    weight = torch.randn(32, 16, generator=generator)
    weight[:, ::4] *= 0.01  # what goes is smaller than the rounding of what stays
    weight = weight.bfloat16()
    dense, keep = weight.float(), keep_rows(weight.float().abs(), 128)
    before = output_errors(dense * keep - dense, gram)

    def worse(weight: Tensor, saved: torch.dtype | None = None) -> tuple[int, tuple[str, ...]]:
        made = Repair.parse(text).repair(weight, keep, {"gram": gram}, saved=saved)
        after = output_errors(made.weight.bfloat16().float() - dense, gram)
        return int((after > before).sum()), made.notes

    assert worse(dense)[0] > 0
    for number, notes in (worse(weight), worse(dense, torch.bfloat16)):
        assert number == 0 and "rows zeroed plainly" in notes[-1]


def test_a_repair_that_moves_nothing_is_no_worse_than_zeroed_plainly() -> None:
    weight, keep, stats = make_problem(6, 16, 0.5, seed=11, dtype=torch.float32)
    settled = (swaps := SparseSwaps()).repair(weight, keep, stats).keep
    assert swaps.repair(weight, settled, stats, saved=torch.bfloat16).notes == ()


def test_repair_texts() -> None:
    assert Repair.parse("dsnot+mrp:damp=0.1").text == "dsnot+mrp:damp=0.1"
    assert Repair.parse("sparseswaps+mrp").needs == {"gram"}
    with pytest.raises(UnknownNameError, match="unknown repair 'mpr'; did you mean mrp"):
        Repair.parse("mpr")
    with pytest.raises(UsageError, match="repair 'mrp' has no parameter 'x'; allowed: damp, form"):
        Repair.parse("mrp:x=1")
    with pytest.raises(UsageError, match="NAME or NAME"):
        Repair.parse("mrp+")
    for name, kind in REPAIRS.items():
        assert name == kind.NAME and kind.SOURCE and kind.__doc__


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ebft+ebft", "'ebft[+]ebft' names ebft twice; name it once, at the end"),
        ("walk:mrp+ebft+ebft:epochs=2", "names ebft twice"),
        ("+".join(["ebft"] * 5000), "names ebft twice"),
        ("mrp+ebft+mrp", "ebft tunes what .* and stands last"),
        ("walk:" * 3000 + "mrp", "needs the repair that walks"),
        ("walk:" + "walk :" * 3000 + "mrp", "needs the repair that walks"),
        ("walk+ebft", "needs the repair that walks, not 'walk[+]ebft'"),
        ("ebft:epochs=" + "9" * 310, "epochs='9{40}' is not understood; use a whole number up to"),
        ("ebft:epochs=" + "9" * 5000, "use a whole number up to"),
        ("mrp:columns=1000000001", "use a whole number up to 1000000000"),
        ("mrp:damp=" + "9" * 400, "damp='9{40}' is not understood; use a number"),
    ],
    ids=range(11),
)
def test_a_repair_that_goes_on_and_on_is_refused(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Repair.parse(text)


def test_what_chooses_the_mask_may_stand_before_any_repair() -> None:
    weight, keep, stats = make_problem(6, 24, 0.5, seed=10)
    for text in ("dsnot+sparseswaps", "sparsegpt:select=own+mrp", "alps+dsnot+mrp"):
        assert Repair.parse(text).repair(weight, keep, stats).keep.sum() == keep.sum()
    own = Repair.parse("sparsegpt:select=own").repair(weight, keep, stats)
    fitted = Repair.parse("sparsegpt:select=own+mrp").repair(weight, keep, stats)
    assert torch.equal(fitted.keep, own.keep) and not torch.equal(own.keep, keep)


@pytest.mark.parametrize("text", ["sparsegpt:select=own", "mrp:select=own", "mrp", "alps", "dsnot"])
@pytest.mark.parametrize("nm", [None, NM(2, 4)])
def test_what_forgets_a_mask_comes_out_alike_from_any_with_its_zeros(
    text: str, nm: NM | None
) -> None:
    repair = Repair.parse(text)
    weight, _, stats = make_problem(6, 24, 0.5, seed=30)  # no row is zeroed plainly
    generator = torch.Generator().manual_seed(12)
    scores = [weight.abs() * stats["x_norm"], torch.rand(weight.shape, generator=generator)]
    masks = [keep_rows(s, 72) if nm is None else keep_nm(s, nm) for s in scores]
    found = [repair.repair(weight, keep, stats, nm).weight for keep in masks]
    assert torch.equal(found[0], found[1]) == repair.forgets("row") == ("own" in text)
    walking = [Repair.parse(f"{head}{text}{tail}") for head, tail in (("walk:", ""), ("", "+ebft"))]
    assert all(walk.forgets("row") == repair.forgets("row") for walk in walking)
    # A metric that is compared in a matrix says how many zeros each row has.
    assert repair.forgets("matrix") == text.startswith("sparsegpt")
    assert not repair.forgets("block") and not repair.forgets("global")


def test_a_shared_factor_is_never_taken_for_another_matrix() -> None:
    weight, keep, stats = make_problem(5, 12, 0.5, seed=7)
    other = make_problem(5, 12, 0.5, seed=8)[2]
    repair, harder = Repair.parse("sparsegpt"), Repair.parse("sparsegpt:damp=1")
    alone = [
        Repair.parse("sparsegpt").repair(weight, keep, {"gram": gram.clone()}).weight
        for gram in (stats["gram"], other["gram"])
    ]
    for _ in range(2):
        for gram, expected in zip((stats["gram"], other["gram"]), alone, strict=True):
            first = repair.repair(weight, keep, {"gram": gram}).weight
            assert torch.equal(first, expected)
            assert torch.equal(repair.repair(weight, keep, {"gram": gram}).weight, expected)
            assert not torch.equal(harder.repair(weight, keep, {"gram": gram}).weight, expected)
    stats["gram"].add_(torch.eye(12, dtype=torch.float64) * stats["gram"].diagonal().mean())
    assert not torch.equal(repair.repair(weight, keep, stats).weight, alone[0])
    upper = weakref.ref(sparsegpt._latest.factor.upper)
    stats.clear()  # the factor goes with its matrix
    assert sparsegpt._latest.factor is None and upper() is None


def test_a_repair_knows_its_parts_and_what_they_touch() -> None:
    swaps, fit = SparseSwaps(), Mrp()
    assert Repair().text == "none" and not Repair().acts
    assert Repair((Plain(),)) == Repair()
    walking = Repair((swaps, fit), order="block by block")
    assert walking == Repair.parse("walk:sparseswaps+mrp")
    assert [part.NAME for part in walking.parts] == ["walk", "sparseswaps", "mrp"]
    assert Repair.parse("ebft").walks
    with pytest.raises(UsageError, match="lose what 'mrp' does"):
        Repair((fit, swaps))


def test_a_plug_in_that_repairs_no_layer_is_refused() -> None:
    @dataclass(frozen=True)
    class Idle(RepairPart):
        NAME: ClassVar[str] = "idle"

    REPAIRS.add("idle", Idle)
    try:
        with pytest.raises(UsageError, match="'idle' is a Idle, which repairs no layer"):
            Repair.parse("idle+mrp")
    finally:
        del REPAIRS._entries["idle"]
