"""A decoder block as a function of its prunable weights, which torch can differentiate.

RMSNorm, rotary attention with grouped keys, SwiGLU; biases and norms of queries and keys where the
family has them. Of our own, because the container holds no model code; the host refuses a block
for which it gives other numbers than the real one.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

NAMES = (
    "mlp.down_proj", "mlp.gate_proj", "mlp.up_proj",
    "self_attn.k_proj", "self_attn.o_proj", "self_attn.q_proj", "self_attn.v_proj",
)  # fmt: skip


class Block:
    """A block with its dense weights; call it with others to see what it would give.

    Args:
        form: ``head`` (size of a head), ``scale`` (of attention scores), ``eps`` by norm, and
            ``products``, the type of matrix products: ``float32`` where it is missing.
        weights: Prunable matrices by name, [out, in].
        rest: Norms and biases by name, ``cos`` and ``sin`` [1, s, head] and, where not all earlier
            tokens are seen, ``mask`` [1, 1, s, s], bool or added.
        stats: Statistics of each matrix's input by name.

    Attributes:
        weights: The dense matrices, float32 [out, in], by name; read-only.
        stats: Statistics of each matrix's input, while all matrices are dense; read-only.
        position: ``block`` (number from 0) and ``depth`` (0 first, 1 last); read-only.
    """

    position: Mapping[str, Any] = MappingProxyType({})

    def __init__(
        self,
        form: Mapping[str, Any],
        weights: Mapping[str, Tensor],
        rest: Mapping[str, Tensor],
        stats: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        self.weights = MappingProxyType(dict(weights))
        self.stats = stats
        self._form = form
        self._rest = rest

    def __call__(self, weights: Mapping[str, Tensor], x: Tensor) -> Tensor:
        """Hidden states that the block gives: [n, s, hidden] -> [n, s, hidden]."""
        own = {**self.weights, **weights}
        fast = self._form.get("products") == "bfloat16"
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=fast):
            return self._output(own, x)

    def _output(self, own: Mapping[str, Tensor], x: Tensor) -> Tensor:
        x = x + self._attention(own, self._norm("input_layernorm", x))
        y = self._norm("post_attention_layernorm", x)
        gate, up = (self._linear(f"mlp.{name}_proj", own, y) for name in ("gate", "up"))
        return x + self._linear("mlp.down_proj", own, functional.silu(gate) * up)

    def _attention(self, own: Mapping[str, Tensor], x: Tensor) -> Tensor:
        count, length, _ = x.shape
        shape = (count, length, -1, self._form["head"])
        q, k, v = (
            self._linear(f"self_attn.{name}_proj", own, x).view(shape).transpose(1, 2)
            for name in ("q", "k", "v")
        )
        q = self._turned(self._norm("self_attn.q_norm", q))
        k = self._turned(self._norm("self_attn.k_norm", k))
        shared = q.shape[1] // k.shape[1]
        k, v = (part.repeat_interleave(shared, dim=1) for part in (k, v))
        mask = self._rest.get("mask")
        mask = mask if mask is None else mask[..., :length, :length]
        mixed = functional.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, is_causal=mask is None, scale=self._form["scale"]
        )
        mixed = mixed.transpose(1, 2).reshape(count, length, -1)
        return self._linear("self_attn.o_proj", own, mixed)

    def _turned(self, x: Tensor) -> Tensor:
        """Rotary positions, [n, heads, s, head]."""
        cos, sin = (self._rest[name][:, None, : x.shape[2]] for name in ("cos", "sin"))
        first, second = x.chunk(2, dim=-1)
        return x * cos + torch.cat((-second, first), dim=-1) * sin

    def _norm(self, name: str, x: Tensor) -> Tensor:
        """RMSNorm, or ``x`` where the family has none of this name."""
        if f"{name}.weight" not in self._rest:
            return x
        size = torch.rsqrt(x.square().mean(-1, keepdim=True) + self._form["eps"][name])
        return self._rest[f"{name}.weight"] * (x * size)

    def _linear(self, name: str, own: Mapping[str, Tensor], x: Tensor) -> Tensor:
        return functional.linear(x, own[name], self._rest.get(f"{name}.bias"))


def packed(
    weights: Mapping[str, Tensor],
    rest: Mapping[str, Tensor],
    stats: Mapping[str, Mapping[str, Tensor]],
    inputs: Tensor,
    targets: Tensor,
) -> tuple[dict[str, Tensor], dict[str, int]]:
    """What :func:`unpacked` takes apart, as the tensors of one file."""
    tensors = {"inputs": inputs, "targets": targets}
    tensors |= {f"weight:{name}": value for name, value in weights.items()}
    tensors |= {f"rest:{name}": value for name, value in rest.items()}
    numbers: dict[int, int] = {}
    places: dict[str, int] = {}
    for name, own in stats.items():
        place = places[name] = numbers.setdefault(id(own), len(numbers))
        tensors |= {f"stat:{place}:{stat}": value for stat, value in own.items()}
    return {name: value.contiguous() for name, value in tensors.items()}, places


def unpacked(
    tensors: Mapping[str, Tensor], form: Mapping[str, Any], named: Any = MappingProxyType
) -> tuple[Block, Tensor, Tensor]:
    """The block, inputs and targets out of the tensors of one file."""
    apart: dict[str, dict[str, Tensor]] = {"weight": {}, "rest": {}}
    for key, value in tensors.items():
        kind, _, name = key.rpartition(":")
        if kind:
            apart.setdefault(kind, {})[name] = value
    stats = {name: named(apart[f"stat:{place}"]) for name, place in form["stats"].items()}
    block = Block(form, apart["weight"], apart["rest"], MappingProxyType(stats))
    return block, tensors["inputs"], tensors["targets"]
