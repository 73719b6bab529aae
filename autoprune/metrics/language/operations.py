"""What every operation of the metric language computes, in torch float32.

One definition serves two uses: :meth:`Expression.evaluate` calls these functions, and
:meth:`Expression.to_python` copies their source, so both give the same bits.

All operations map finite inputs to finite outputs:

- what can overflow saturates at ``LIMIT`` = 1e30 in magnitude;
- a divisor (or the base of a negative power) smaller than ``EPSILON`` = 1e-12 in magnitude counts
  as ``EPSILON``; every other division is exact;
- ``sqrt``, ``log1p`` and ``**`` take the magnitude of their argument; ``exp`` stops growing at 60.

Shapes: a value is a scalar (one element), [out, 1], [1, in] or [out, in]; operands broadcast.
Only torch is used here, nothing from this package, since the source also runs elsewhere.
"""

import torch

LIMIT = 1e30
EPSILON = 1e-12
EXP_CEILING = 60.0


def finite(x: torch.Tensor) -> torch.Tensor:
    """Saturate; NaN counts as 0, since sums of huge values may overflow in both directions."""
    return torch.nan_to_num(x, nan=0.0, posinf=LIMIT, neginf=-LIMIT).clamp_(-LIMIT, LIMIT)


def add(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """``a + b``, saturated."""
    return torch.add(a, b).clamp_(-LIMIT, LIMIT)


def subtract(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """``a - b``, saturated."""
    return torch.sub(a, b).clamp_(-LIMIT, LIMIT)


def multiply(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """``a * b``, saturated."""
    return torch.mul(a, b).clamp_(-LIMIT, LIMIT)


def divide(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """``a / b``, saturated; a divisor nearer to zero than 1e-12 counts as 1e-12."""
    divisor = torch.where(torch.abs(b) < EPSILON, EPSILON, b)
    return torch.div(a, divisor).clamp_(-LIMIT, LIMIT)


def power(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """``|a| ** b`` for a scalar ``b``, saturated; under a negative ``b``, ``|a|`` is >= 1e-12."""
    exponent = b.item()
    base = torch.abs(a)
    if exponent < 0:
        base = base.clamp_(min=EPSILON)
    return torch.pow(base, exponent).clamp_(max=LIMIT)


def negate(x: torch.Tensor) -> torch.Tensor:
    """``-x``."""
    return torch.neg(x)


def absolute(x: torch.Tensor) -> torch.Tensor:
    """``|x|``."""
    return torch.abs(x)


def square_root(x: torch.Tensor) -> torch.Tensor:
    """Square root of ``|x|``."""
    return torch.sqrt(torch.abs(x))


def log_one_plus(x: torch.Tensor) -> torch.Tensor:
    """``log(1 + |x|)``."""
    return torch.log1p(torch.abs(x))


def exponential(x: torch.Tensor) -> torch.Tensor:
    """``exp(min(x, 60))``."""
    return torch.exp(torch.clamp(x, max=EXP_CEILING))


def square(x: torch.Tensor) -> torch.Tensor:
    """``x * x``, saturated."""
    return torch.mul(x, x).clamp_(max=LIMIT)


def hyperbolic_tangent(x: torch.Tensor) -> torch.Tensor:
    """``tanh(x)``."""
    return torch.tanh(x)


def logistic(x: torch.Tensor) -> torch.Tensor:
    """``1 / (1 + exp(-x))``."""
    return torch.sigmoid(x)


def smaller(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Element-wise minimum of two values."""
    return torch.minimum(a, b)


def larger(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Element-wise maximum of two values."""
    return torch.maximum(a, b)


def clipped(x: torch.Tensor, low: torch.Tensor, high: torch.Tensor) -> torch.Tensor:
    """``min(max(x, low), high)``."""
    return torch.minimum(torch.maximum(x, low), high)


def min_max_scaled(x: torch.Tensor) -> torch.Tensor:
    """``(x - min) / (max - min)`` over the whole value; all zeros when it is constant."""
    bounded = torch.clamp(x, -LIMIT, LIMIT)
    low = bounded.min()
    span = torch.clamp(bounded.max() - low, min=EPSILON)
    return torch.div(torch.sub(bounded, low), span)


def ranked(x: torch.Tensor) -> torch.Tensor:
    """Share of strictly smaller entries in the same row, 0..1 ([out, 1]: among all rows).

    Equal entries share one rank, so permuting the columns permutes the result.
    """
    along_in = x.reshape(1, -1) if x.shape[-1] == 1 else x
    along_in = along_in.contiguous()
    order = torch.sort(along_in, dim=1).values
    below = torch.searchsorted(order, along_in, right=False).to(torch.float32)
    return torch.div(below, max(1, along_in.shape[1] - 1)).reshape(x.shape)


def sum_over_in(x: torch.Tensor) -> torch.Tensor:
    """Sum of each row."""
    return finite(torch.sum(x, dim=1, keepdim=True))


def mean_over_in(x: torch.Tensor) -> torch.Tensor:
    """Mean of each row."""
    return finite(torch.mean(x, dim=1, keepdim=True))


def std_over_in(x: torch.Tensor) -> torch.Tensor:
    """Population standard deviation of each row."""
    deviation = torch.sub(x, mean_over_in(x))
    return finite(torch.sqrt(torch.mean(torch.square(deviation), dim=1, keepdim=True)))


def norm_over_in(x: torch.Tensor) -> torch.Tensor:
    """Euclidean norm of each row."""
    return finite(torch.sqrt(torch.sum(torch.square(x), dim=1, keepdim=True)))


def max_over_in(x: torch.Tensor) -> torch.Tensor:
    """Largest entry of each row."""
    return torch.amax(x, dim=1, keepdim=True)


def sum_over_out(x: torch.Tensor) -> torch.Tensor:
    """Sum of each column."""
    return finite(torch.sum(x, dim=0, keepdim=True))


def mean_over_out(x: torch.Tensor) -> torch.Tensor:
    """Mean of each column."""
    return finite(torch.mean(x, dim=0, keepdim=True))


def std_over_out(x: torch.Tensor) -> torch.Tensor:
    """Population standard deviation of each column."""
    deviation = torch.sub(x, mean_over_out(x))
    return finite(torch.sqrt(torch.mean(torch.square(deviation), dim=0, keepdim=True)))


def norm_over_out(x: torch.Tensor) -> torch.Tensor:
    """Euclidean norm of each column."""
    return finite(torch.sqrt(torch.sum(torch.square(x), dim=0, keepdim=True)))


def max_over_out(x: torch.Tensor) -> torch.Tensor:
    """Largest entry of each column."""
    return torch.amax(x, dim=0, keepdim=True)


def mean_over_all(x: torch.Tensor) -> torch.Tensor:
    """Mean of all entries."""
    return finite(torch.mean(x))


def std_over_all(x: torch.Tensor) -> torch.Tensor:
    """Population standard deviation of all entries."""
    deviation = torch.sub(x, mean_over_all(x))
    return finite(torch.sqrt(torch.mean(torch.square(deviation))))
