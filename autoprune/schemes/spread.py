"""A fixed rotation in which every channel is a mixture of all: Hadamard where a size allows it."""

import math

import torch
from torch import Tensor


def spread(width: int) -> Tensor:
    """An orthonormal matrix, float64 [width, width], whose columns all have many entries alike.

    For powers of two it is Sylvester's Hadamard matrix. Other sizes have its product with a cosine
    transform of the odd factor, since Hadamard matrices exist for few of them.
    """
    power = width & -width
    hadamard = torch.ones(1, 1, dtype=torch.float64)
    while len(hadamard) < power:
        above = torch.cat([hadamard, hadamard], dim=1)
        hadamard = torch.cat([above, torch.cat([hadamard, -hadamard], dim=1)])
    odd = width // power
    place = torch.arange(odd, dtype=torch.float64)
    cosine = torch.cos(math.pi / odd * (place[:, None] + 0.5) * place[None]) * math.sqrt(2 / odd)
    cosine[:, 0] = math.sqrt(1 / odd)
    return torch.kron(hadamard / math.sqrt(power), cosine)
