"""One block for a program: its weights by name, what it receives, what it should give."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from autoprune.errors import UsageError
from autoprune.models.capture import BlockCall
from autoprune.models.structure import PrunableLinear
from autoprune.programs.budget import LayerBudget

# Share of a token's size by which the block that programs call may differ from the real one...
SAME = 1e-5
# ... or this many times the rounding error of float32 in it, where that is larger.
ROUNDINGS = 4.0
# What the block that programs can call knows how to compute; see sandbox/worker/block.py.
MATRICES = frozenset(
    {f"self_attn.{name}_proj" for name in ("q", "k", "v", "o")}
    | {f"mlp.{name}_proj" for name in ("gate", "up", "down")}
)

# What programs call: hidden states by matrices and hidden states.
Called = Callable[[Mapping[str, Tensor], Tensor], Tensor]
# Makes it of a form, all matrices and the rest of the tensors.
Build = Callable[[Mapping[str, Any], Mapping[str, Tensor], Mapping[str, Tensor]], Called]


@dataclass(frozen=True)
class BlockTask:
    """One block for a program, float32 on the CPU.

    Args:
        form: ``head`` (size of a head), ``scale`` (of attention scores), ``eps`` by norm, and
            ``products``, the type of matrix products where it is not float32.
        weights: Dense prunable matrices by their name in the block, [o, i].
        rest: Norms and biases by name, rotary tables ``cos`` and ``sin`` [1, s, head], and ``mask``
            [1, 1, s, s] where there is one.
        stats: Statistics of each matrix's input on ``inputs``, while all matrices are dense;
            those that share an input share the mapping.
        budgets: Zeros that each matrix owes.
        position: ``block`` (number) and ``depth`` (0 at the first block, 1 at the last).
        inputs: What the pruned model gives the block, [n, s, d].
        targets: What the block should give, [n, s, d].
        checks: Two windows, [2, s, d], and what the real block, dense, gives on them in float32.
        quick: For a first figure, whose last bits may depend on the number of threads.
    """

    form: Mapping[str, Any]
    weights: Mapping[str, Tensor]
    rest: Mapping[str, Tensor]
    stats: Mapping[str, Mapping[str, Tensor]]
    budgets: Mapping[str, LayerBudget]
    position: Mapping[str, Any]
    inputs: Tensor
    targets: Tensor
    checks: tuple[Tensor, Tensor]
    quick: bool = False


def names_in_block(block: nn.Module, members: Sequence[PrunableLinear]) -> dict[str, str]:
    """Name in the block, ``self_attn.q_proj``, by the name in the model.

    Raises:
        UsageError: If the block is not made of the matrices that a program can compute with.
    """
    paths = {id(module): path for path, module in block.named_modules()}
    found = {layer.name: paths[id(layer.owner)] for layer in members if layer.expert is None}
    if len(found) != len(members) or set(found.values()) != MATRICES:
        other = sorted(set(found.values()) ^ MATRICES) or ["fused experts"]
        raise _unknown_family(block, f"it differs by {', '.join(other)}")
    return found


def block_form(
    block: nn.Module, names: Mapping[str, str], call: BlockCall
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What the block is apart from its prunable matrices: its form, and the rest of its tensors.

    Args:
        block: The real block.
        names: See :func:`names_in_block`.
        call: Its other arguments, the same for all windows.

    Raises:
        UsageError: If the block has no rotary tables or norms that say how they are computed.
    """
    matrices = {f"{name}.weight" for name in names.values()}
    rest = {n: _plain(p) for n, p in block.named_parameters() if n not in matrices}
    eps = {}
    for path, module in block.named_modules():
        value = getattr(module, "variance_epsilon", getattr(module, "eps", None))
        if value is not None:
            eps[path] = float(value)
    attention: Any = block.get_submodule("self_attn")
    try:
        cos, sin = call.kwargs["position_embeddings"]
        form = {"head": int(attention.head_dim), "scale": float(attention.scaling), "eps": eps}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _unknown_family(block, f"{type(error).__name__}: {error}") from error
    rest |= {"cos": _plain(cos[:1]), "sin": _plain(sin[:1])}
    mask = call.kwargs.get("attention_mask")
    if isinstance(mask, Tensor):
        rest["mask"] = mask[:1].cpu() if mask.dtype is torch.bool else _plain(mask[:1])
    return form, rest


def require_same(task: BlockTask, build: Build, name: str) -> None:
    """Refuse a family for which the block that programs call is not the real one.

    Args:
        task: With two windows and what the real block gives.
        build: Makes what programs call.
        name: The block, for the message.

    Raises:
        UsageError: If a token's output differs by more than 1e-5 of its size and by more than
            four times the error that float32 makes in it: in a block whose inputs differ a lot in
            size, the order of sums alone changes more than that.
    """
    inputs, wanted = task.checks
    form = {name: value for name, value in task.form.items() if name != "products"}
    try:
        found = build(form, task.weights, task.rest)({}, inputs)
        off = _farthest(found, wanted)
        allowed = SAME
        if not off <= SAME:
            weights, rest = _exact(task.weights), _exact(task.rest)
            exact = build(form, weights, rest)({}, inputs.double())
            allowed = max(SAME, ROUNDINGS * _farthest(found, exact))
    except (RuntimeError, KeyError):
        # Norms or heads of other shapes.
        off, allowed = math.inf, SAME
    # NaN fails every comparison, so ask for what must hold.
    if not off <= allowed:
        raise UsageError(
            f"{name}: the block that programs can call gives other numbers than the model's "
            f"(relative difference {off:.1e}, allowed {allowed:.1e}), so block programs cannot "
            "prune this family of models; take a layer program, or a metric with a repair"
        )


def _farthest(found: Tensor, wanted: Tensor) -> float:
    """Largest difference of a token's state as a share of its size."""
    sizes = wanted.norm(dim=-1).clamp_min(torch.finfo(torch.float32).tiny)
    return float(((found - wanted).norm(dim=-1) / sizes).max())


def _exact(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {n: x.double() if x.is_floating_point() else x for n, x in tensors.items()}


def _plain(value: Tensor) -> Tensor:
    return value.detach().float().cpu().contiguous()


def _unknown_family(block: nn.Module, why: str) -> UsageError:
    return UsageError(
        f"block programs prune blocks made of {', '.join(sorted(MATRICES))}, and "
        f"{type(block).__name__} is another kind ({why}); take a layer program, or a metric with "
        "a repair"
    )
