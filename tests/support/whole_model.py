"""What every matrix of a whole model reads in plain passes, found by hooks and nothing of ours."""

import torch
from torch import Tensor, nn
from torch.nn.functional import linear as apply

from autoprune.models.structure import PrunableLinear, prunable_linears


def whole_model_inputs(model: nn.Module, windows: Tensor) -> dict[str, Tensor]:
    """All inputs ``[n, i]`` of every matrix, by hooks on one plain forward pass per window."""
    collected: dict[str, list[Tensor]] = {}
    linears = prunable_linears(model)
    handles = []
    for linear in linears:
        if linear.expert is None:

            def keep(_: nn.Module, args: tuple[Tensor, ...], name: str = linear.name) -> None:
                collected.setdefault(name, []).append(args[0].reshape(-1, args[0].shape[-1]))

            handles.append(linear.owner.register_forward_pre_hook(keep))
    owners = {id(x.owner): x.owner for x in linears if x.expert is not None}
    for owner in owners.values():
        members = [x for x in linears if x.owner is owner]

        def route(
            module: nn.Module, args: tuple[Tensor, ...], members: list[PrunableLinear] = members
        ) -> None:
            for linear in members:
                x = _expert_input(module, linear, members, args[0], args[1])
                collected.setdefault(linear.name, []).append(x)

        handles.append(owner.register_forward_pre_hook(route))
    with torch.no_grad():
        for window in windows:
            model(input_ids=window[None], use_cache=False)
    for handle in handles:
        handle.remove()
    return {name: torch.cat(parts) for name, parts in collected.items()}


def inputs_of(model: nn.Module, layers: list[PrunableLinear], windows: Tensor) -> dict[str, Tensor]:
    """Inputs [n, i] of the layers, from plain forward passes of the whole model as it stands."""
    found = whole_model_inputs(model, windows)
    return {layer.name: found[layer.name].double() for layer in layers}


def _expert_input(
    module: nn.Module,
    linear: PrunableLinear,
    members: list[PrunableLinear],
    hidden: Tensor,
    chosen: Tensor,
) -> Tensor:
    x = hidden.reshape(-1, hidden.shape[-1])[(chosen == linear.expert).any(-1)]
    if linear.projection == "gate_up_proj":
        return x
    up = next(m for m in members if m.projection == "gate_up_proj" and m.expert == linear.expert)
    both = apply(x, up.read())
    if hasattr(module, "gate_up_proj_bias"):
        both = both + module.gate_up_proj_bias[linear.expert]
        gate = both[:, ::2].clamp(max=module.limit)
        raised = both[:, 1::2].clamp(-module.limit, module.limit) + 1
        return raised * gate * torch.sigmoid(gate * module.alpha)
    gate, raised = both.chunk(2, -1)
    return nn.functional.silu(gate) * raised
