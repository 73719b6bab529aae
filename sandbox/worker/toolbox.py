"""What programs build from; they write ``from toolbox import topk, inverse_cholesky``.

Runs inside the container. Shapes: ``o`` outputs (rows), ``i`` inputs (columns). A keep mask is bool
[o, i], True where a weight stays; larger scores stay, and of equal ones the first goes first.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = [
    "adam", "damped", "descend", "descend_block", "inverse_cholesky", "n_m", "not_worse",
    "output_error", "parts", "quantiles", "relative_error", "solve_rows", "topk",
]  # fmt: skip

_LARGEST_DAMPING = 10.0
_BATCH_FLOATS = 3 << 20
_FIRST, _SECOND = 0.9, 0.95
# Windows that tell whether the error of a block fell.
_WITNESSES = 8


def topk(scores: Tensor, budget: Mapping[str, Any]) -> Tensor:
    """Keep mask with exactly the zeros that the budget asks for, whatever its group.

    Args:
        scores: [o, i], larger means keep.
        budget: As ``prune_layer`` gets it.
    """
    if budget["group"] == "n:m":
        return n_m(scores, budget["n"], budget["m"])
    if budget["group"] == "matrix":
        return _keep(scores.reshape(1, -1), budget["zeros"]).reshape(scores.shape)
    keep = torch.empty(scores.shape, dtype=torch.bool)
    zeros = budget["rows"]
    for count in torch.unique(zeros).tolist():
        rows = zeros == count
        keep[rows] = _keep(scores[rows], count)
    return keep


def n_m(scores: Tensor, zeros: int, of: int) -> Tensor:
    """Keep mask that zeroes the ``zeros`` lowest of every ``of`` neighbours in a row: [o, i]."""
    groups = scores.reshape(-1, of)
    order = groups.argsort(dim=1, stable=True)
    keep = torch.ones(groups.shape, dtype=torch.bool)
    return keep.scatter_(1, order[:, :zeros], False).view(scores.shape)


def _keep(scores: Tensor, zeros: int) -> Tensor:
    """Zero the lowest of every row: [r, c] -> bool [r, c]."""
    if zeros <= 0 or zeros >= scores.shape[1]:
        return torch.full(scores.shape, zeros <= 0, dtype=torch.bool)
    limit = torch.kthvalue(scores, zeros, dim=1, keepdim=True).values
    below, equal = scores < limit, scores == limit
    missing = zeros - below.sum(dim=1, keepdim=True)
    return ~below & ~(equal & (equal.cumsum(dim=1) <= missing))


def parts(budget: Mapping[str, Any], widths: Sequence[int]) -> list[dict[str, Any]]:
    """The budget cut into budgets of column blocks: zeros in proportion, sums exact.

    Args:
        budget: As ``prune_layer`` gets it.
        widths: Columns of each block; all columns together, and for N:M multiples of M.
    """
    if budget["group"] == "n:m":
        return [{**budget, "zeros": zeros} for zeros in _shared(budget["zeros"], widths)]
    if budget["group"] == "matrix":
        return [{"group": "matrix", "zeros": zeros} for zeros in _shared(budget["zeros"], widths)]
    counts = budget["rows"].tolist()
    of_row = {count: _shared(count, widths) for count in set(counts)}
    rows = torch.tensor([of_row[count] for count in counts])
    return [{"group": "row", "zeros": int(own.sum()), "rows": own} for own in rows.unbind(dim=1)]


def _shared(total: int, widths: Sequence[int]) -> list[int]:
    """Whole numbers in proportion to the widths, by largest remainder, the first first."""
    whole = sum(widths)
    shares = [total * width // whole for width in widths]
    order = sorted(range(len(widths)), key=lambda at: (-(total * widths[at] % whole), at))
    for at in order[: total - sum(shares)]:
        shares[at] += 1
    return shares


def damped(gram: Tensor, damp: float = 0.01) -> Tensor:
    """``gram`` plus ``damp`` times its mean diagonal on the diagonal, [i, i].

    If all inputs are dead, 1 is added: no share of nothing would make the matrix regular.
    """
    mean = float(gram.diagonal().mean())
    level = damp * mean if mean > 0 else 1.0
    return gram + level * torch.eye(len(gram), dtype=gram.dtype)


def inverse_cholesky(gram: Tensor, damp: float = 0.01) -> Tensor:
    """Upper U with ``U^T U`` the inverse of the damped Gram matrix, [i, i].

    ``U.diagonal()`` is the root of what is left of the inverse's diagonal when the columns before
    are settled. Damping rises tenfold, from 0 to 1e-6, until a factor exists.
    """
    turned, damp = gram.flip(0, 1), max(damp, 0.0)
    while damp <= _LARGEST_DAMPING:
        matrix = damped(turned, damp)
        factor, failed = torch.linalg.cholesky_ex(matrix)
        limit = torch.finfo(matrix.dtype).eps * float(matrix.diagonal().max())
        if not int(failed) and float(factor.diagonal().min()) ** 2 > limit:
            identity = torch.eye(len(factor), dtype=factor.dtype)
            inverse: Tensor = torch.linalg.solve_triangular(factor, identity, upper=False)
            return inverse.flip(0, 1)
        damp = damp * 10 or 1e-6
    raise ValueError("the Gram matrix stays singular at any damping")


def solve_rows(goal: Tensor, keep: Tensor, matrix: Tensor) -> Tensor:
    """Solve ``x_K M_KK = goal_K`` for every row, K its kept weights; 0 elsewhere.

    With ``goal = W @ M`` this is the best fit of the kept weights by the error ``d M d^T``.

    Args:
        goal: [o, i].
        keep: bool [o, i].
        matrix: M, symmetric positive definite, [i, i].
    """
    result = torch.zeros_like(goal)
    counts = keep.sum(dim=1)
    chosen = keep.to(torch.int8).argsort(dim=1, descending=True, stable=True)
    for count in torch.unique(counts[counts > 0]).tolist():
        step = max(1, _BATCH_FLOATS // count**2)
        for rows in (counts == count).nonzero().squeeze(1).split(step):
            own = chosen[rows, :count]
            systems = matrix[own.unsqueeze(2), own.unsqueeze(1)]
            factor = torch.linalg.cholesky(systems)
            wanted = goal[rows].gather(1, own).unsqueeze(2)
            found = torch.cholesky_solve(wanted, factor).squeeze(2)
            result[rows] = result[rows].scatter(1, own, found)
    return result


def output_error(weight: Tensor, other: Tensor, gram: Tensor) -> Tensor:
    """Mean squared difference of the outputs of two weights, per row: [o, i], [o, i] -> [o]."""
    difference = other - weight
    return ((difference @ gram) * difference).sum(dim=1)


def not_worse(weight: Tensor, new: Tensor, plain: Tensor, gram: Tensor) -> Tensor:
    """``new`` with the rows of ``plain`` where those give the smaller error, [o, i].

    Where the two differ in the zeros of a row, rows cannot be exchanged: all of one or the other.

    Args:
        weight: Dense, [o, i].
        new: What a program made of it.
        plain: Something simple of the same budget, such as ``weight * keep``.
        gram: [i, i].
    """
    before, after = (output_error(weight, other, gram) for other in (plain, new))
    better = after <= before
    if not torch.equal((new == 0).sum(dim=1), (plain == 0).sum(dim=1)):
        return new if bool(better.all()) or float(after.sum()) <= float(before.sum()) else plain
    return torch.where(better.unsqueeze(1), new, plain)


def descend(
    loss: Callable[[Tensor], Tensor],
    start: Tensor,
    keep: Tensor,
    steps: int = 100,
    rate: float = 0.01,
) -> Tensor:
    """Adam on the kept weights, at a rate that falls to zero; returns the best that was seen.

    Args:
        loss: A number from weights [o, i]; it may use whatever torch differentiates.
        start: Where it begins, [o, i].
        keep: bool [o, i]; the other weights stay 0.
        steps: Steps.
        rate: First step in shares of the kept weights' root mean square.
    """
    current = (start * keep).detach()
    scale = float(start[keep].square().mean().sqrt()) if bool(keep.any()) else 0.0
    memory: dict[str, Tensor] = {}
    best, lowest = current, float("inf")
    for step in range(steps + 1):
        with torch.enable_grad():
            current.requires_grad_(True)
            value = loss(current)
            (gradient,) = torch.autograd.grad(value, current)
        current = current.detach()
        if float(value) < lowest:
            best, lowest = current, float(value)
        size = rate * scale * (1 - step / max(steps, 1))
        current = adam(current, gradient * keep, memory, size)
    return best


def adam(weight: Tensor, gradient: Tensor, memory: dict[str, Tensor], rate: float) -> Tensor:
    """One step of Adam; returns the new weight, and changes neither it nor the gradient.

    Args:
        weight: Any shape.
        gradient: Of the same shape; where it is always 0, the weight stays.
        memory: Of this weight, an empty dict at the first step; updated.
        rate: Size of the step.
    """
    if not memory:
        memory["mean"], memory["square"] = torch.zeros_like(weight), torch.zeros_like(weight)
        memory["step"] = torch.zeros(())
    memory["step"] += 1
    new = weight.detach().clone()
    # The kernel of torch's fused Adam, whose class imports half of torch's compiler.
    torch._fused_adam_(
        [new],
        [gradient.contiguous()],
        [memory["mean"]],
        [memory["square"]],
        [],
        [memory["step"]],
        lr=rate,
        beta1=_FIRST,
        beta2=_SECOND,
        weight_decay=0.0,
        eps=1e-8,
        amsgrad=False,
        maximize=False,
    )
    return new


def descend_block(
    block: Callable[[Mapping[str, Tensor], Tensor], Tensor],
    weights: Mapping[str, Tensor],
    masks: Mapping[str, Tensor],
    inputs: Tensor,
    targets: Tensor,
    epochs: int = 4,
    rate: float = 0.01,
    seed: int = 0,
) -> dict[str, Tensor]:
    """Adam on the kept weights of a block, a window a step, at a rate that falls to zero: EBFT.

    Lowers :func:`relative_error`; where it does not fall on eight windows, the weights come back as
    they were.

    Args:
        block: As ``prune_block`` gets it.
        weights: Where it begins, [o, i] by name; matrices that are missing stay dense.
        masks: Keep mask of each, bool [o, i]; the other weights are 0.
        inputs: [n, s, hidden].
        targets: What the block should give, [n, s, hidden].
        epochs: Passes over the windows.
        rate: First step in shares of each matrix's root mean square of kept weights.
        seed: Of the order of windows.
    """
    start = {name: (weight * masks[name]).detach() for name, weight in weights.items()}
    now, count = {name: weight.clone() for name, weight in start.items()}, len(inputs)
    memory: dict[str, dict[str, Tensor]] = {name: {} for name in now}
    rates = {
        n: rate * float(w[masks[n]].square().mean().nan_to_num().sqrt()) for n, w in now.items()
    }
    shuffling = torch.Generator().manual_seed(seed)
    steps = int(epochs) * count
    for step in range(steps):
        if step % count == 0:
            order = torch.randperm(count, generator=shuffling).tolist()
        at = slice(order[step % count], order[step % count] + 1)
        with torch.enable_grad():
            leaves = [now[name].requires_grad_(True) for name in now]
            loss = relative_error(block(now, inputs[at]), targets[at])
            gradients = torch.autograd.grad(loss, leaves)
        for name, gradient in zip(list(now), gradients, strict=True):
            size = rates[name] * (1 - step / steps)
            now[name] = adam(now[name], gradient * masks[name], memory[name], size)
    before, after = (_witnessed(block, own, inputs, targets) for own in (start, now))
    return now if after < before else start


def _witnessed(
    block: Callable[[Mapping[str, Tensor], Tensor], Tensor],
    weights: Mapping[str, Tensor],
    inputs: Tensor,
    targets: Tensor,
) -> float:
    chosen = range(0, len(inputs), -(-len(inputs) // _WITNESSES))
    with torch.no_grad():
        pairs = [(block(weights, inputs[n : n + 1]), targets[n : n + 1]) for n in chosen]
        return sum(float(relative_error(*pair)) for pair in pairs) / len(pairs)


def relative_error(output: Tensor, goal: Tensor) -> Tensor:
    """Mean over tokens of ``||y' - y||^2 / ||y||^2``: y' [b, s, d], y [b, s, d] -> a number."""
    size = goal.square().sum(dim=-1).clamp_min(torch.finfo(torch.float32).tiny)
    return ((output - goal).square().sum(dim=-1) / size).mean()


def quantiles(values: Tensor, shares: Sequence[float], dim: int | None = None) -> Tensor:
    """The values below which these shares lie, first axis by share; of any size, unlike torch's.

    Args:
        values: Any shape.
        shares: Between 0 and 1.
        dim: Axis; None: all values together.
    """
    ordered = values.reshape(-1).sort().values if dim is None else values.sort(dim=dim).values
    axis, size = (0, ordered.numel()) if dim is None else (dim, ordered.shape[dim])
    places = [min(size - 1, max(0, round(share * (size - 1)))) for share in shares]
    return torch.stack([ordered.select(axis, place) for place in places])
