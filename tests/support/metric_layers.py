"""Small layers with all statistics, for the metric tests."""

import torch
from torch import Tensor


def layer(seed: int = 0, out: int = 12, inputs: int = 20) -> tuple[Tensor, dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    stats = {
        "x_norm": normal(inputs).abs() + 0.05,
        "x_mean": normal(inputs),
        "x_var": normal(inputs).abs(),
        "x_max": normal(inputs).abs() + 2,
        "hessian_diag": normal(inputs).abs() + 0.1,
        "grad_norm": normal(out, inputs).abs() * 1e-3,
    }
    return normal(out, inputs) * 0.05, stats


def extreme_layers() -> list[tuple[Tensor, dict[str, Tensor]]]:
    """Finite inputs at the edges: zeros, huge, tiny, denormal, the largest float, one column."""
    found = []
    for value in (0.0, 1e30, -1e30, 1e-30, 1e-42, torch.finfo(torch.float32).max):
        weight, stats = layer(1, 5, 7)
        found.append(
            (
                torch.full_like(weight, value),
                {name: torch.full_like(part, abs(value)) for name, part in stats.items()},
            )
        )
        spotted = weight.clone()
        spotted[::2, ::3] = value
        spotted[1::2, ::3] = -value
        found.append((spotted, stats))
        found.append((weight, {n: torch.full_like(p, abs(value)) for n, p in stats.items()}))
    found.append(layer(2, 1, 9))
    found.append(layer(3, 9, 1))
    return found
