"""Many small systems cut from one matrix, against one dense solve per row."""

import pytest
import torch
from torch import Tensor

from autoprune.repair import subsets
from autoprune.repair.subsets import solve_subsets


def row_by_row(rhs: Tensor, members: Tensor, matrix: Tensor) -> Tensor:
    result = torch.zeros_like(rhs)
    for row in range(len(rhs)):
        s = members[row].nonzero().squeeze(1)
        if len(s):
            result[row, s] = torch.linalg.solve(matrix[s][:, s], rhs[row, s])
    return result


def make(
    rows: int, width: int, share: float, dtype: torch.dtype, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(3 * width, width, generator=generator, dtype=dtype)
    x *= torch.randn(width, generator=generator, dtype=dtype).exp()
    gram = x.t() @ x / len(x)
    matrix = gram + 0.01 * gram.diagonal().mean() * torch.eye(width, dtype=dtype)
    rhs = torch.randn(rows, width, generator=generator, dtype=dtype)
    return rhs, torch.rand(rows, width, generator=generator) < share, matrix


# Widths below, at and across the panels of 32; sizes that differ from row to row.
@pytest.mark.parametrize(("width", "share"), [(9, 0.5), (32, 1.0), (65, 0.97), (150, 0.45)])
def test_every_row_is_its_own_exact_solve(width: int, share: float) -> None:
    rhs, members, matrix = make(11, width, share, torch.float64)
    members[3] = False
    members[5] = True
    found = solve_subsets(rhs, members, matrix)
    assert torch.allclose(found, row_by_row(rhs, members, matrix), rtol=1e-9, atol=1e-12)
    assert not bool(found[~members].any())


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_and_batches_change_nothing(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rhs, members, matrix = make(40, 90, 0.5, torch.float64, seed=1)
    expected = row_by_row(rhs, members, matrix)
    monkeypatch.setattr(subsets, "BATCH_FLOATS", 3 * 60 * 60)  # a dozen batches
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        found = solve_subsets(rhs, members, matrix)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert torch.allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_float32_is_as_exact_as_lapack() -> None:
    rhs, members, matrix = make(20, 200, 0.4, torch.float32, seed=2)
    exact = row_by_row(rhs.double(), members, matrix.double())
    ours = (solve_subsets(rhs, members, matrix).double() - exact).norm()
    lapack = (row_by_row(rhs, members, matrix).double() - exact).norm()
    assert float(ours) < 3 * float(lapack) < 1e-3 * float(exact.norm())


def test_nothing_to_solve() -> None:
    rhs, members, matrix = make(4, 12, 0.0, torch.float64)
    assert not bool(solve_subsets(rhs, members, matrix).any())
    assert solve_subsets(rhs[:0], members[:0], matrix).shape == (0, 12)
