"""Small synthetic layers with the traits of real ones: outlier columns, skew, two aspect ratios."""

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from sandbox.container import LayerInput

SHAPES = ((48, 64), (64, 48), (33, 65))
# All that a layer file may carry besides W.
STATISTICS = ("x_norm", "x_mean", "x_var", "x_max", "hessian_diag", "grad_norm")


def probe_tensors(index: int) -> dict[str, NDArray[np.float32]]:
    """Tensors of one probe layer, the same on every machine."""
    rows, columns = SHAPES[index]
    random = np.random.Generator(np.random.PCG64(1000 + index))
    weight = random.standard_t(4, size=(rows, columns)) * 0.05
    scale = np.exp(random.normal(0.0, 0.8, size=columns))
    # A few inputs are far louder than the rest, as in every trained transformer.
    scale[random.choice(columns, 2, replace=False)] *= 40
    mean = scale * random.normal(0.0, 0.2, size=columns)
    tensors = {
        "W": weight,
        "x_norm": np.sqrt(scale**2 + mean**2),
        "x_mean": mean,
        "x_var": scale**2,
        "x_max": scale * random.uniform(3.0, 8.0, size=columns),
        "hessian_diag": scale**2 * random.uniform(0.3, 1.0, size=columns),
        "grad_norm": np.abs(random.normal(0.0, 1e-3, size=(rows, columns))) + 1e-6,
    }
    return {name: np.ascontiguousarray(value, np.float32) for name, value in tensors.items()}


def write_probe_layers(
    folder: Path,
    more: Iterable[Mapping[str, NDArray[np.float32]]] = (),
    statistics: Collection[str] = STATISTICS,
) -> list[LayerInput]:
    """Write all probe layers, then ``more``, into ``folder``, with these statistics."""
    layers = []
    for index, tensors in enumerate([*map(probe_tensors, range(len(SHAPES))), *more]):
        path = folder / f"{index}.safetensors"
        save_file({n: v for n, v in tensors.items() if n == "W" or n in statistics}, path)
        path.chmod(0o444)
        rows, columns = tensors["W"].shape
        layers.append(LayerInput(path, (rows, columns)))
    return layers
