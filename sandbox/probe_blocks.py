"""Two tiny blocks for trying block programs: biases and two groups; norms, 2:4, quiet inputs."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from sandbox.container import LayerInput
from sandbox.worker.block import NAMES, Block, packed

HIDDEN, HEADS, SHARED, HEAD, INNER = 24, 4, 2, 4, 32
WINDOWS, LENGTH = 6, 12
_ROWS = {"q": HEADS * HEAD, "k": SHARED * HEAD, "v": SHARED * HEAD, "gate": INNER, "up": INNER}
_COLUMNS = {"o": HEADS * HEAD, "down": INNER}
SHAPES = {
    name: (_ROWS.get(kind, HIDDEN), _COLUMNS.get(kind, HIDDEN))
    for name in NAMES
    for kind in [name.partition(".")[2].removesuffix("_proj")]
}


@dataclass(frozen=True)
class TinyBlock:
    """A tiny block, with the fields of :class:`autoprune.programs.BlockTask`."""

    form: dict[str, Any]
    weights: dict[str, Tensor]
    rest: dict[str, Tensor]
    stats: dict[str, dict[str, Tensor]]
    budgets: dict[str, dict[str, Any]]
    inputs: Tensor
    targets: Tensor


class _Recorder(Block):
    """Records the inputs of each matrix."""

    seen: dict[str, Tensor]

    def _linear(self, name: str, own: Mapping[str, Tensor], x: Tensor) -> Tensor:
        self.seen[name] = x.reshape(-1, x.shape[-1])
        return super()._linear(name, own, x)


@torch.no_grad()
def tiny_block(index: int) -> TinyBlock:
    """One of the two tiny blocks."""
    random = np.random.Generator(np.random.PCG64(3000 + index))

    def drawn(*shape: int, scale: float = 1.0, around: float = 0.0) -> Tensor:
        values = random.normal(around, scale, size=shape)
        return torch.from_numpy(np.ascontiguousarray(values, np.float32))

    weights = {name: drawn(*SHAPES[name], scale=SHAPES[name][1] ** -0.5) for name in NAMES}
    norms = {"input_layernorm": HIDDEN, "post_attention_layernorm": HIDDEN}
    norms |= {"self_attn.q_norm": HEAD, "self_attn.k_norm": HEAD} if index else {}
    rest = {f"{name}.weight": drawn(size, scale=0.2, around=1.0) for name, size in norms.items()}
    if not index:
        rest |= {f"{name}.bias": drawn(SHAPES[name][0], scale=0.1) for name in NAMES}
    angles = np.outer(np.arange(LENGTH), 10.0 ** -np.arange(HEAD // 2))
    turned = torch.from_numpy(np.concatenate((angles, angles), axis=1).astype(np.float32))[None]
    rest |= {"cos": turned.cos(), "sin": turned.sin()}
    form = {"head": HEAD, "scale": HEAD**-0.5, "eps": dict.fromkeys(norms, 1e-6)}
    inputs = drawn(WINDOWS, LENGTH, HIDDEN, scale=2.0 ** (-5 * index))
    # A few features are far louder than the rest, as in every trained transformer.
    inputs[..., :2] *= 20
    recorder = _Recorder(form, weights, rest)
    recorder.seen = {}
    targets = recorder({}, inputs)
    stats = {name: _moments(x) for name, x in recorder.seen.items()}
    return TinyBlock(form, weights, rest, stats, _budgets(index), inputs, targets)


def _moments(x: Tensor) -> dict[str, Tensor]:
    return {
        "gram": x.T @ x / len(x),
        "x_norm": x.square().mean(0).sqrt(),
        "x_mean": x.mean(0),
        "x_var": x.var(0, correction=0),
        "x_max": x.abs().amax(0),
    }


def _budgets(index: int) -> dict[str, dict[str, Any]]:
    budgets: dict[str, dict[str, Any]] = {}
    for place, (name, (rows, columns)) in enumerate(SHAPES.items()):
        if index:
            zeros, numbers = rows * columns // 2, {"n": 2, "m": 4}
            budgets[name] = {"group": "n:m", "zeros": zeros, **numbers}
        else:
            group = ("row", "matrix")[place % 2]
            budgets[name] = {"group": group, "zeros": int(0.6 * rows * columns) + place}
    return budgets


def block_input(
    path: Path,
    task: Any,
    budgets: Mapping[str, Mapping[str, Any]],
    position: Mapping[str, Any],
) -> LayerInput:
    """Write a block's file and return what a job needs to know about it."""
    tensors, places = packed(task.weights, task.rest, task.stats, task.inputs, task.targets)
    save_file(tensors, path)
    path.chmod(0o444)
    shapes = {name: list(weight.shape) for name, weight in sorted(task.weights.items())}
    total = sum(weight.numel() for weight in task.weights.values())
    form = {**task.form, "stats": places, "matrices": shapes}
    return LayerInput(path, (1, total), budgets, position, form)


def write_tiny_blocks(folder: Path) -> list[LayerInput]:
    """Write both tiny blocks into ``folder``."""
    found = []
    for index in range(2):
        tiny = tiny_block(index)
        position = {"block": index, "depth": float(index)}
        path = folder / f"tiny-block-{index}.safetensors"
        found.append(block_input(path, tiny, tiny.budgets, position))
    return found
