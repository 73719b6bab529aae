"""A tiny block for trying layer programs: correlated inputs, three budgets, two scales."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from sandbox.container import LayerInput

TOKENS = 256
# Shape, budget, input factor: a quiet and a loud layer must be pruned like any other.
TINY: tuple[tuple[tuple[int, int], dict[str, str | int], float], ...] = (
    ((48, 64), {"group": "row", "zeros": 1555}, 1.0),
    ((64, 48), {"group": "matrix", "zeros": 1843}, 1.0),
    ((32, 64), {"group": "n:m", "zeros": 1024, "n": 2, "m": 4}, 1.0),
    ((48, 64), {"group": "row", "zeros": 1536}, 2.0**-5),
    ((64, 48), {"group": "row", "zeros": 1843}, 2.0**5),
)


def tiny_tensors(index: int) -> dict[str, NDArray[np.float32]]:
    """``W`` and the statistics of one layer of the tiny block, the same on every machine."""
    (rows, columns), _, factor = TINY[index]
    random = np.random.Generator(np.random.PCG64(2000 + index))
    scale = np.exp(random.normal(0.0, 0.8, size=columns))
    # A few inputs are far louder than the rest, as in every trained transformer.
    scale[random.choice(columns, 2, replace=False)] *= 20
    mixing = np.eye(columns) + random.normal(0.0, 0.5 / np.sqrt(columns), size=(columns, columns))
    inputs = (random.normal(0.1, 1.0, size=(TOKENS, columns)) @ mixing) * scale * factor
    tensors = {
        "W": random.standard_t(4, size=(rows, columns)) * 0.05,
        "gram": inputs.T @ inputs / TOKENS,
        "x_norm": np.sqrt(np.square(inputs).mean(0)),
        "x_mean": inputs.mean(0),
        "x_var": inputs.var(0),
        "x_max": np.abs(inputs).max(0),
    }
    return {name: np.ascontiguousarray(value, np.float32) for name, value in tensors.items()}


def write_tiny_block(folder: Path) -> list[LayerInput]:
    """Write the tiny block's layers into ``folder``."""
    layers = []
    for index, (shape, budget, _) in enumerate(TINY):
        path = folder / f"tiny-{index}.safetensors"
        save_file(tiny_tensors(index), path)
        path.chmod(0o444)
        position = {"block": 0, "depth": 0.0, "kind": "q_proj"}
        layers.append(LayerInput(path, shape, budget, position))
    return layers
