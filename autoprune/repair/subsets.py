"""Many small positive definite systems cut from one large matrix: ``x_S M_SS = b_S`` per row.

The rows' systems share nothing but the matrix they are cut from, so each has its own Cholesky
factor. LAPACK factors systems of a few hundred unknowns at a quarter of a core's speed. Here a
batch is factored panel by panel with batched matrix products, which run at full speed. The
right-hand side is the last row of the system, which makes the forward substitution free. Batches
are spread over single-threaded workers.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

# Panels of 32: LAPACK still factors and inverts them in a few microseconds.
PANEL = 32
# Floats per batch of systems: the next operands are still in the cache. An accelerator has room for
# more and needs it to stay busy.
BATCH_FLOATS = 3 << 19
ACCELERATOR_FLOATS = 1 << 27
# Strips of rows in which a system is gathered, each up to its diagonal: the rest is symmetric.
STRIPS = 4


def solve_subsets(rhs: Tensor, members: Tensor, matrix: Tensor) -> Tensor:
    """Solve ``x_S M_SS = rhs_S`` per row with S the row's members; x is 0 elsewhere.

    Args:
        rhs: [o, i].
        members: bool [o, i].
        matrix: M, symmetric positive definite, [i, i].

    Returns:
        x, [o, i].
    """
    counts = members.sum(dim=1)
    # Rows of similar size share a batch, so that padding stays small.
    order = counts.argsort(stable=True)
    sizes = counts[order].tolist()
    index = members.to(torch.int8).argsort(dim=1, descending=True, stable=True)
    result = torch.zeros_like(rhs)

    def solve(start: int, stop: int) -> None:
        rows, size = order[start:stop], sizes[stop - 1]
        chosen = index[rows, :size]
        solution = _solve_batch(rhs[rows].gather(1, chosen), chosen, counts[rows], matrix)
        result[rows] = result[rows].scatter_add(1, chosen, solution)

    on_cpu = rhs.device.type == "cpu"
    batches = list(_batches(sizes, BATCH_FLOATS if on_cpu else ACCELERATOR_FLOATS))
    threads = torch.get_num_threads() if on_cpu else 1
    if min(threads, len(batches)) < 2:
        for start, stop in batches:
            solve(start, stop)
        return result
    # Every thread computes on one core: products this small lose by being split.
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            for done in [pool.submit(solve, *batch) for batch in batches]:
                done.result()
        finally:
            torch.set_num_threads(threads)  # the setting is global for threads that start later
    return result


def _batches(sizes: list[int], floats: int) -> Iterator[tuple[int, int]]:
    """Runs of rows, by ascending size, whose padded systems fit a batch; empty systems left out."""
    start = next((at for at, size in enumerate(sizes) if size), len(sizes))
    while start < len(sizes):
        stop = start + 1
        while stop < len(sizes) and (stop + 1 - start) * sizes[stop] ** 2 <= floats:
            stop += 1
        yield start, stop
        start = stop


def _solve_batch(rhs: Tensor, chosen: Tensor, counts: Tensor, matrix: Tensor) -> Tensor:
    """Solve a batch: rhs [b, n], chosen indices [b, n], counts [b] -> x [b, n]."""
    size = chosen.shape[1]
    valid = torch.arange(size, device=rhs.device) < counts.unsqueeze(1)
    lower = rhs.new_empty(len(rhs), size + 1, size)
    if rhs.device.type == "cpu":
        _gather_lower(lower, chosen, matrix)
    else:
        lower[:, :size] = matrix[chosen.unsqueeze(2), chosen.unsqueeze(1)]
    lower[:, size] = rhs
    if not bool(valid.all()):
        # Beyond its own unknowns, a shorter system is the identity and its right-hand side zero.
        lower[:, size].masked_fill_(~valid, 0.0)
        lower[:, :size].mul_(valid.unsqueeze(2) & valid.unsqueeze(1))
        lower.diagonal(dim1=1, dim2=2).masked_fill_(~valid, 1.0)
    inverses = _factor(lower)
    return _back_substitute(lower, inverses)


def _gather_lower(lower: Tensor, chosen: Tensor, matrix: Tensor) -> None:
    """Copy at least the lower triangle of every row's system into ``lower`` [b, n + 1, n]."""
    size = chosen.shape[1]
    step = max(-(-size // STRIPS), PANEL)
    for system, own in zip(lower, chosen, strict=True):
        for start in range(0, size, step):
            stop = min(start + step, size)
            strip = matrix.index_select(0, own[start:stop]).index_select(1, own[:stop])
            system[start:stop, :stop] = strip


def _factor(lower: Tensor) -> list[Tensor]:
    """Cholesky factor in place, left-looking; the last row becomes the forward substitution."""
    size = lower.shape[2]
    inverses: list[Tensor] = []
    for start in range(0, size, PANEL):
        stop = min(start + PANEL, size)
        panel = lower[:, start:, start:stop].contiguous()
        if start:
            before = lower[:, start:, :start]
            panel.baddbmm_(before, before[:, : stop - start].mT, alpha=-1.0)
        factor = torch.linalg.cholesky_ex(panel[:, : stop - start]).L
        identity = torch.eye(stop - start, dtype=lower.dtype, device=lower.device)
        inverse = torch.linalg.solve_triangular(factor, identity.expand_as(factor), upper=False)
        lower[:, stop:, start:stop] = torch.bmm(panel[:, stop - start :], inverse.mT)
        lower[:, start:stop, start:stop] = factor
        inverses.append(inverse)
    return inverses


def _back_substitute(lower: Tensor, inverses: list[Tensor]) -> Tensor:
    """Solve ``x L = y`` with L and y as :func:`_factor` leaves them: [b, n]."""
    size = lower.shape[2]
    left = lower[:, size:].clone()
    for number in range(len(inverses) - 1, -1, -1):
        start = number * PANEL
        stop = min(start + PANEL, size)
        part = left[:, :, start:stop] = torch.bmm(left[:, :, start:stop], inverses[number])
        if start:
            left[:, :, :start].baddbmm_(part, lower[:, start:stop, :start], alpha=-1.0)
    return left.squeeze(1)
