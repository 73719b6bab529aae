"""A mixture of experts out of a dense model: every MLP copied, with noise, behind a new router."""

import torch
from transformers import LlamaConfig, MixtralConfig, MixtralForCausalLM, PreTrainedModel

from autoprune.errors import UsageError


def upcycled(
    model: PreTrainedModel, count: int, *, top_k: int = 2, noise: float = 0.0, seed: int = 0
) -> MixtralForCausalLM:
    """A Mixtral whose experts are a Llama's MLPs (sparse upcycling, arXiv 2212.05055).

    Without noise it computes what the dense model does, up to rounding: the weights of the experts
    that a token takes sum to 1.
    """
    plain = isinstance(model.config, LlamaConfig)
    if not plain or model.config.attention_bias or model.config.mlp_bias:
        raise UsageError(
            f"{type(model).__name__} cannot be upcycled: only a Llama without biases can, such as "
            "SmolLM2"
        )
    known = model.config.to_dict()
    shared = {key: known[key] for key in MixtralConfig().to_dict() if key in known}
    for name in ("model_type", "architectures", "transformers_version"):
        shared.pop(name, None)
    config = MixtralConfig(**shared | {"num_local_experts": count, "num_experts_per_tok": top_k})
    mixture = MixtralForCausalLM(config).eval()
    state = model.state_dict()
    generator = torch.Generator().manual_seed(seed)

    def copies(weight: torch.Tensor) -> torch.Tensor:
        drawn = torch.randn((count, *weight.shape), generator=generator).to(weight)
        return weight + noise * weight.std() * drawn

    with torch.no_grad():
        for name, value in mixture.named_parameters():
            prefix, found, kind = name.partition("mlp.")
            if not found:
                value.copy_(state[name])
            elif kind == "gate.weight":
                # Logits vary as the normed hidden state does, so that the second expert counts.
                value.normal_(0, config.hidden_size**-0.5, generator=generator)
            elif kind == "experts.down_proj":
                value.copy_(copies(state[f"{prefix}mlp.down_proj.weight"]))
            else:
                parts = [copies(state[f"{prefix}mlp.{p}_proj.weight"]) for p in ("gate", "up")]
                value.copy_(torch.cat(parts, 1))
    mixture.config.use_cache = False
    return mixture
