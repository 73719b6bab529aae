"""Experts of a mixture and their router: find them, route among some of them, cut others out.

A router returns its logits, the weights of the experts that each token uses, and their numbers
(both ``[tokens, k]``). All tensors of the router and the experts have one entry per expert on the
first axis, so cutting is one selection. All blocks with experts keep the same number of them, since
a stock configuration has only one.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from autoprune.errors import UnsupportedModelError
from autoprune.models.structure import expert_parameters, find_blocks, text_config
from autoprune.schemes.plan import Kept
from autoprune.schemes.surgery import require_reopens

# Attributes with the number of experts, in modules and configurations.
_COUNTS = ("num_experts", "num_local_experts", "n_routed_experts")


@dataclass(frozen=True)
class ExpertPart:
    """The experts of one block.

    Args:
        block: Number of the block.
        router: Chooses experts and their weights.
        experts: Module that holds their parameters.
        count: Number of experts.
        top_k: Experts per token.
        groups: Equal groups of consecutive experts that the router chooses among first; 1 for none.
        chosen_groups: Groups from which a token's experts are chosen.
        parameters: Parameters of one expert, including its row of the router.
    """

    block: int
    router: nn.Module = field(repr=False)
    experts: nn.Module = field(repr=False)
    count: int
    top_k: int
    groups: int
    chosen_groups: int
    parameters: int

    def serves(self, kept: int) -> bool:
        """Whether tokens can be routed among ``kept`` experts."""
        each, rest = divmod(kept, self.groups)
        # A group is scored by its two best experts.
        least = 2 if self.groups > 1 else 1
        return not rest and each >= least and self.top_k <= each * self.chosen_groups


def expert_parts(model: PreTrainedModel) -> list[ExpertPart | None]:
    """The experts of each block; None for a block that has none.

    Raises:
        UnsupportedModelError: If no block has experts that are stored as one tensor next to a
            router, or blocks differ in their numbers of them.
    """
    found = [_part(number, block) for number, block in enumerate(find_blocks(model))]
    shapes = {(part.count, part.top_k, part.groups) for part in found if part is not None}
    if len(shapes) != 1:
        name, seen = type(model).__name__, f"differ: {sorted(shapes)}" if shapes else "has none"
        raise UnsupportedModelError(
            f"experts can go from blocks that all have as many, stored as one tensor beside a "
            f"router, and {name} {seen}; remove whole blocks instead: --scheme depth"
        )
    return found


@contextmanager
def only_experts(model: PreTrainedModel, kept: Kept) -> Iterator[None]:
    """Route tokens only among these experts of each block, inside the context; copies no weight.

    Args:
        model: The model, with all experts.
        kept: Numbers of the kept experts by block, ascending; empty for all, or if there are none.
    """
    with ExitStack() as stack:
        if any(kept):
            for part, numbers in zip(expert_parts(model), kept, strict=True):
                if part is not None and numbers:
                    stack.enter_context(routed_among(part, numbers))
        yield


@contextmanager
def routed_among(part: ExpertPart, numbers: Sequence[int]) -> Iterator[None]:
    """Restrict the router to these experts; it still returns their original numbers."""
    router = part.router
    chosen = torch.tensor(numbers, device=next(router.parameters()).device)
    before = [(store, name, store[name]) for store, name in _per_expert(router, part.count)]
    counts = _counts(router, part.count)

    def numbered(_: nn.Module, __: Any, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (*given[:2], chosen[given[2]], *given[3:])

    handle = router.register_forward_hook(numbered)
    try:
        _select(router, part.count, chosen)
        yield
    finally:
        handle.remove()
        for store, name, value in before:
            store[name] = value
        router.__dict__.update(counts)


@torch.no_grad()
def slice_experts(model: PreTrainedModel, kept: Kept) -> None:
    """Cut out all but these experts in place, and adapt the routers and the configuration.

    Args:
        model: Changed in place.
        kept: Numbers of the kept experts by block, ascending; empty if the block has none.

    Raises:
        UnsupportedModelError: If stock transformers would build another model from the
            configuration.
    """
    if not any(kept):
        return
    parts = expert_parts(model)
    counts = {part.count for part in parts if part is not None}
    for part, numbers in zip(parts, kept, strict=True):
        if part is not None:
            for module in (part.router, part.experts):
                _select(module, part.count, torch.tensor(numbers))
    (before,), after = counts, max(map(len, kept))
    for module in model.modules():
        module.__dict__.update(dict.fromkeys(_counts(module, before), after))
    config = text_config(model)
    for name in _COUNTS:
        if getattr(config, name, None) == before:
            setattr(config, name, after)
    require_reopens(model)


def _part(number: int, block: nn.Module) -> ExpertPart | None:
    for module in block.modules():
        children = list(module.children())
        for experts in children:
            names = expert_parameters(experts)
            if not names:
                continue
            count = experts.get_parameter(names[0]).shape[0]
            for router in children:
                weight, top_k = (getattr(router, name, None) for name in ("weight", "top_k"))
                if not isinstance(weight, nn.Parameter) or not isinstance(top_k, int):
                    continue
                if weight.ndim == 2 and weight.shape[0] == count:
                    return _described(number, router, experts, count, top_k)
    return None


def _described(
    number: int, router: nn.Module, experts: nn.Module, count: int, top_k: int
) -> ExpertPart:
    grouped = getattr(router, "topk_method", "") != "greedy"
    groups = (getattr(router, "num_group", None) or 1) if grouped else 1
    chosen = getattr(router, "topk_group", None) if groups > 1 else None
    stores = [entry for module in (router, experts) for entry in _per_expert(module, count)]
    held = sum(p.numel() for s, n in stores if isinstance(p := s[n], nn.Parameter))
    return ExpertPart(number, router, experts, count, top_k, groups, chosen or 1, held // count)


def _per_expert(module: nn.Module, count: int) -> list[tuple[dict[str, Any], str]]:
    """A module's own parameters and buffers with one entry per expert."""
    stores = (cast("dict[str, Any]", module._parameters), cast("dict[str, Any]", module._buffers))
    return [
        (store, name)
        for store in stores
        for name, value in store.items()
        if value is not None and value.ndim and value.shape[0] == count
    ]


def _select(module: nn.Module, count: int, chosen: Tensor) -> None:
    for store, name in _per_expert(module, count):
        value = store[name]
        picked = value.detach()[chosen.to(value.device)]
        is_weight = isinstance(value, nn.Parameter)
        store[name] = nn.Parameter(picked, value.requires_grad) if is_weight else picked
    module.__dict__.update(dict.fromkeys(_counts(module, count), len(chosen)))


def _counts(module: nn.Module, count: int) -> dict[str, int]:
    """The attributes in which a module stores its number of experts."""
    return {name: count for name in _COUNTS if module.__dict__.get(name) == count}
