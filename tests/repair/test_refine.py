"""Mask refinement against brute force and straight implementations on small problems."""

from itertools import combinations

import pytest
import torch
from torch import Tensor

from autoprune.errors import UsageError
from autoprune.masking import NM, keep_nm, keep_rows
from autoprune.repair import REPAIRS, Dsnot, LayerRepair, Repair, output_errors
from autoprune.repair.alps import approach_kept
from autoprune.repair.mrp import choose_mask, fit_kept


def problem(rows: int, width: int, seed: int) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(300, width, generator=generator, dtype=torch.float64)
    x = x @ torch.randn(width, width, generator=generator, dtype=torch.float64) + 0.5
    weight = torch.randn(rows, width, generator=generator, dtype=torch.float64)
    gram = x.t() @ x / len(x)
    stats = {
        "gram": gram,
        "x_norm": gram.diagonal().sqrt(),
        "x_mean": x.mean(0),
        "x_var": x.var(0, correction=0),
    }
    return weight, keep_rows(weight.abs() * stats["x_norm"], rows * width // 2), stats


def zeroing_cost(weight: Tensor, pruned: Tensor, gram: Tensor) -> float:
    lost = weight * pruned
    return float(lost @ gram @ lost)


def best_swap(
    weight: Tensor, keep: Tensor, gram: Tensor, of: int | None = None
) -> tuple[float, Tensor]:
    best = (zeroing_cost(weight, ~keep, gram), keep)
    for p in (~keep).nonzero().flatten().tolist():
        for k in keep.nonzero().flatten().tolist():
            if of is not None and p // of != k // of:
                continue
            other = keep.clone()
            other[p], other[k] = True, False
            cost = zeroing_cost(weight, ~other, gram)
            if cost < best[0]:
                best = (cost, other)
    return best


def test_sparseswaps_makes_the_best_swap_first() -> None:
    weight, keep, stats = problem(5, 14, seed=0)
    once = Repair.parse("sparseswaps:swaps=1,candidates=0").repair(weight, keep, stats)
    for row in range(5):
        cost, expected = best_swap(weight[row], keep[row], stats["gram"])
        assert torch.equal(once.keep[row], expected)
        assert zeroing_cost(weight[row], ~once.keep[row], stats["gram"]) == pytest.approx(cost)


def test_sparseswaps_ends_where_no_swap_helps() -> None:
    weight, keep, stats = problem(4, 12, seed=1)
    final = Repair.parse("sparseswaps:swaps=500,candidates=0").repair(weight, keep, stats)
    for row in range(4):
        here = zeroing_cost(weight[row], ~final.keep[row], stats["gram"])
        assert best_swap(weight[row], final.keep[row], stats["gram"])[0] >= here * (1 - 2e-6)
    few = Repair.parse("sparseswaps:swaps=500,candidates=3").repair(weight, keep, stats)
    before = output_errors(weight * ~keep, stats["gram"])
    assert bool((output_errors(weight * ~few.keep, stats["gram"]) <= before).all())


def test_sparseswaps_stays_inside_groups() -> None:
    pattern = NM(2, 4)
    weight, _, stats = problem(6, 16, seed=2)
    keep = keep_nm(weight.abs() * stats["x_norm"], pattern)
    result = Repair.parse("sparseswaps").repair(weight, keep, stats, pattern)
    assert not torch.equal(result.keep, keep)
    assert bool((result.keep.view(6, -1, 4).sum(2) == 2).all())


@pytest.mark.parametrize("pattern", [NM(2, 4), NM(1, 4), NM(4, 8)])
def test_sparseswaps_makes_the_best_swap_inside_groups_again_and_again(pattern: NM) -> None:
    weight, _, stats = problem(6, 16, seed=3)
    given = keep_nm(weight.abs() * stats["x_norm"], pattern)
    expected = given.clone()
    for swaps in range(1, 4):
        found = Repair.parse(f"sparseswaps:swaps={swaps}").repair(weight, given, stats, pattern)
        for row in range(6):
            expected[row] = best_swap(weight[row], expected[row], stats["gram"], pattern.of)[1]
        assert torch.equal(found.keep, expected)
    assert not torch.equal(expected, given)


def dsnot_row(
    weight: Tensor, keep: Tensor, stats: dict[str, Tensor], cycles: int, of: int | None
) -> Tensor:
    """The rule of the paper for one row, in plain Python."""
    c = (weight * stats["x_mean"]).tolist()
    variance, norm = stats["x_var"].tolist(), stats["x_norm"].tolist()
    kept = keep.tolist()
    for _ in range(cycles):
        r = sum(value for value, k in zip(c, kept, strict=True) if not k)
        if abs(r) <= 5e-5:
            break
        sign = 1.0 if r > 0 else -1.0
        pruned = [j for j in range(len(c)) if not kept[j]]
        revived = max(pruned, key=lambda j: sign * c[j] / variance[j])
        after = r - c[revived]
        helps = [
            j
            for j in range(len(c))
            if kept[j] and c[j] * after < 0 and (of is None or j // of == revived // of)
        ]
        if not helps:
            break
        lost = min(helps, key=lambda j: abs(float(weight[j])) * norm[j])
        if abs(after + c[lost]) >= abs(r):
            break
        kept[revived], kept[lost] = True, False
    return torch.tensor(kept)


@pytest.mark.parametrize("pattern", [None, NM(2, 4)])
def test_dsnot_equals_the_rule_row_by_row(pattern: NM | None) -> None:
    weight, keep, stats = problem(30, 16, seed=3)
    if pattern is not None:
        keep = keep_nm(weight.abs() * stats["x_norm"], pattern)
    # Its own mask before the guard that sends rows back when the measured error rises.
    from autoprune.repair.layer import Problem

    repair = Dsnot(cycles=8)
    _, refined = repair.solve(Problem(weight, keep, stats, pattern))
    expected = [
        dsnot_row(weight[row], keep[row], stats, 8, pattern.of if pattern else None)
        for row in range(30)
    ]
    assert torch.equal(refined, torch.stack(expected))
    assert not torch.equal(refined, keep)


def test_dsnot_lowers_the_expected_error() -> None:
    weight, keep, stats = problem(30, 16, seed=4)
    refined = Repair.parse("dsnot").repair(weight, keep, stats).keep
    expected = (weight * stats["x_mean"] * ~keep).sum(1).abs()
    assert bool(((weight * stats["x_mean"] * ~refined).sum(1).abs() <= expected).all())


def test_dsnot_names_the_missing_statistics() -> None:
    weight, keep, stats = problem(2, 8, seed=5)
    with pytest.raises(UsageError, match=r"\['x_mean', 'x_var'\]"):
        Repair.parse("dsnot").repair(weight, keep, {k: stats[k] for k in ("gram", "x_norm")})


def test_no_repair_begins_to_solve_without_its_statistics(monkeypatch: pytest.MonkeyPatch) -> None:
    weight, keep, _ = problem(3, 8, seed=8)
    parts = [kind() for _, kind in REPAIRS.items() if issubclass(kind, LayerRepair)]
    needy = [part for part in parts if part.needs]
    assert {part.NAME for part in needy} >= {"alps", "dsnot", "mrp", "sparsegpt", "sparseswaps"}
    for part in needy:
        monkeypatch.setattr(type(part), "solve", lambda *_: pytest.fail("solve was called"))
        with pytest.raises(UsageError, match=f"repair '{part.NAME}' needs statistics.*missing"):
            part.repair(weight, keep, {})


@pytest.mark.parametrize("seed", range(3))
def test_alps_is_close_to_the_best_support_of_all(seed: int) -> None:
    weight, keep, stats = problem(6, 9, seed)
    gram = stats["gram"]
    found = Repair.parse("alps:damp=1e-8").repair(weight, keep, stats)
    errors = output_errors(found.weight - weight, gram)
    wanda = output_errors(
        Repair.parse("mrp:damp=1e-8").repair(weight, keep, stats).weight - weight, gram
    )
    best = torch.full((6,), float("inf"), dtype=torch.float64)
    for row in range(6):
        for support in combinations(range(9), int(keep[row].sum())):
            k = list(support)
            fit = torch.zeros(9, dtype=torch.float64)
            fit[k] = torch.linalg.solve(gram[k][:, k], (weight[row] @ gram)[k])
            best[row] = min(best[row], output_errors((fit - weight[row])[None], gram)[0])
    assert bool((errors >= best * (1 - 1e-6)).all())
    assert float(errors.sum()) <= float(wanda.sum())
    assert float(errors.sum()) <= 2.0 * float(best.sum())


@pytest.mark.parametrize("seed", range(3))
def test_alps_is_never_worse_than_the_exact_fit_on_the_given_mask(seed: int) -> None:
    weight, keep, stats = problem(12, 40, seed)
    gram = stats["gram"]
    matrix = gram + 0.01 * gram.diagonal().mean() * torch.eye(40, dtype=gram.dtype)
    alps = Repair.parse("alps").repair(weight, keep, stats)
    mrp = Repair.parse("mrp").repair(weight, keep, stats)
    errors = output_errors(alps.weight - weight, matrix)
    given = output_errors(mrp.weight - weight, matrix)
    assert bool((errors <= given * (1 + 1e-9)).all())
    assert float(errors.sum()) < 0.95 * float(given.sum())


@pytest.mark.parametrize("seed", range(3))
def test_conjugate_gradients_approach_the_exact_fit_and_never_leave_the_mask(seed: int) -> None:
    weight, keep, stats = problem(12, 40, seed)
    gram = stats["gram"]
    scale = gram.diagonal().sqrt()
    matrix = (gram + 0.01 * gram.diagonal().mean() * torch.eye(40, dtype=gram.dtype)) / scale
    matrix = matrix / matrix.diagonal()
    matrix = (matrix + matrix.t()) / 2
    goal, exact = weight @ matrix, fit_kept(weight @ matrix, keep, matrix)
    before = float("inf")
    for steps in (0, 1, 3, 10, 40):
        found = approach_kept(goal, keep, matrix, weight * keep, steps)
        error = float(output_errors(found - exact, matrix).sum())
        assert not found[~keep].any() and error <= before
        before = error
    torch.testing.assert_close(found, exact, rtol=1e-6, atol=1e-9)
    again = approach_kept(goal, keep, matrix, exact, 10)
    torch.testing.assert_close(again, exact, rtol=1e-9, atol=1e-12)


def test_alps_by_gradient_has_the_same_mask_and_nearly_the_same_error() -> None:
    weight, keep, stats = problem(12, 40, 0)
    found, other = (
        Repair.parse(text).repair(weight, keep, stats) for text in ("alps", "alps:fit=gradient")
    )
    errors = [
        float(output_errors(result.weight - weight, stats["gram"]).sum())
        for result in (found, other)
    ]
    assert errors[1] == pytest.approx(errors[0], rel=0.02) and errors[1] != errors[0]
    assert bool((other.keep.sum(1) == keep.sum(1)).all())


def damped_inverse(gram: Tensor) -> Tensor:
    identity = torch.eye(len(gram), dtype=gram.dtype)
    return torch.linalg.inv(gram + 0.01 * gram.diagonal().mean() * identity)


@pytest.mark.parametrize("pattern", [NM(2, 4), NM(1, 4), NM(4, 8)])
def test_mrp_chooses_the_best_mask_of_every_group(pattern: NM) -> None:
    weight, keep, stats = problem(5, 16, seed=8)
    inverse = damped_inverse(stats["gram"])
    found = choose_mask(weight, keep.sum(1), inverse, pattern)
    for row in range(5):
        for start in range(0, 16, pattern.of):
            losses = {}
            for choice in combinations(range(start, start + pattern.of), pattern.zeros):
                p, w = list(choice), weight[row, list(choice)]
                losses[choice] = float(w @ torch.linalg.inv(inverse[p][:, p]) @ w)
            pruned = (~found[row, start : start + pattern.of]).nonzero().flatten()
            mine = losses[tuple((start + pruned).tolist())]
            assert mine == pytest.approx(min(losses.values()), rel=1e-9)


def test_mrp_own_mask_is_the_obs_score_with_the_same_zeros_per_row() -> None:
    weight, keep, stats = problem(20, 24, seed=9)
    inverse = damped_inverse(stats["gram"])
    found = choose_mask(weight, keep.sum(1), inverse, None)
    assert torch.equal(found, keep_rows(weight.square() / inverse.diagonal(), 240))
    repaired = Repair.parse("mrp:select=own").repair(weight, keep, stats).keep
    assert torch.equal(repaired.sum(1), keep.sum(1)) and not torch.equal(repaired, keep)


def test_too_many_choices_fall_back_to_the_single_score() -> None:
    weight, keep, stats = problem(4, 32, seed=10)
    inverse = damped_inverse(stats["gram"])
    found = choose_mask(weight, keep.sum(1), inverse, NM(8, 16))
    assert torch.equal(found, keep_nm(weight.square() / inverse.diagonal(), NM(8, 16)))
