"""Blocks and prunable matrices are found by structure, in every family."""

import pytest
import torch
import transformers
from torch import nn
from transformers.pytorch_utils import Conv1D

from autoprune.errors import AutopruneError
from autoprune.models.structure import find_blocks, prunable_linears
from tests.support.tiny_models import EXPECTED, FAMILIES, FUSED_EXPERTS, tiny_model

SMALL = {
    "vocab_size": 96,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
}


@pytest.mark.parametrize("family", FAMILIES)
def test_finds_what_a_reader_of_the_source_would_list(family: str) -> None:
    model = tiny_model(family)
    linears = prunable_linears(model)
    assert len(find_blocks(model)) == 3
    assert {linear.projection for linear in linears} == EXPECTED[family]
    assert [linear.block for linear in linears] == sorted(linear.block for linear in linears)
    assert len({linear.name for linear in linears}) == len(linears)


@pytest.mark.parametrize("family", FAMILIES)
def test_leaves_the_rest_alone(family: str) -> None:
    model = tiny_model(family)
    linears = prunable_linears(model)
    prunable = {linear.parameter for linear in linears}
    for name, parameter in model.named_parameters():
        left_alone = name not in prunable
        if any(
            part in name for part in ("norm", "ln_", "embed", "wte", "wpe", "lm_head", "router")
        ):
            assert left_alone, name
        if name.endswith("mlp.gate.weight"):
            assert left_alone, name
        if left_alone and parameter.ndim > 1:
            outside = not any(f".{index}." in name for index in range(3))
            spared = ("gate", "router", "bias", "A_log", "conv1d", "dt_proj")
            assert outside or any(part in name for part in spared), name
    by_module = {name: p.numel() for name, p in model.named_parameters() if name in prunable}
    assert sum(linear.numel for linear in linears) == sum(by_module.values())


@pytest.mark.parametrize("family", FAMILIES)
def test_read_and_write_are_inverse_and_hit_only_their_own_weights(family: str) -> None:
    model = tiny_model(family)
    linears = prunable_linears(model)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    chosen = linears[len(linears) // 2]
    weight = chosen.read().clone()
    assert tuple(weight.shape) == chosen.shape
    chosen.write(torch.zeros(chosen.shape))
    assert torch.count_nonzero(chosen.read()) == 0
    changed = [n for n, p in model.named_parameters() if not torch.equal(p, before[n])]
    assert changed == [chosen.parameter]
    chosen.write(weight)
    assert all(torch.equal(p, before[n]) for n, p in model.named_parameters())
    with pytest.raises(ValueError, match="new weight"):
        chosen.write(torch.zeros(1, 1))


@pytest.mark.parametrize("family", ["llama", "gpt2", *sorted(FUSED_EXPERTS)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
def test_zeroing_keeps_every_other_bit(family: str, dtype: torch.dtype) -> None:
    linears = prunable_linears(tiny_model(family).to(dtype))
    chosen = linears[len(linears) // 2]
    strange = torch.tensor([float("inf"), float("-inf"), float("nan"), -0.0, -1.0, 1.0])
    chosen.write(strange.repeat(-(-chosen.numel // 6))[: chosen.numel].view(chosen.shape))
    before = chosen.read().clone()
    keep = torch.arange(chosen.numel).view(chosen.shape) % 4 > 1
    chosen.zero(keep)
    zeroed = chosen.read()[~keep]
    assert torch.equal(zeroed, torch.zeros_like(zeroed))
    assert not bool(torch.signbit(zeroed).any())
    kept, expected = chosen.read()[keep].double(), before[keep].double()
    assert torch.equal(kept.isnan(), expected.isnan())
    assert torch.equal(kept.nan_to_num(nan=7.0), expected.nan_to_num(nan=7.0))
    assert torch.equal(kept.signbit(), expected.signbit())


def test_orientation_is_output_by_input() -> None:
    conv = next(x for x in prunable_linears(tiny_model("gpt2")) if x.projection == "c_fc")
    assert isinstance(conv.owner, Conv1D)
    assert conv.shape == (24, 16)
    assert torch.equal(conv.read(), conv.owner.weight.T)
    for family in FUSED_EXPERTS:
        linears = prunable_linears(tiny_model(family))
        up = [x for x in linears if x.projection == "gate_up_proj"]
        assert all(x.shape[1] == 16 for x in up)
        assert [x.expert for x in up[:4]] == [0, 1, 2, 3]


def test_routers_known_by_outputs_and_shared_matrices_once() -> None:
    class Block(nn.Module):
        def __init__(self, shared: nn.Linear) -> None:
            super().__init__()
            self.mixer = nn.Module()
            self.mixer.chooser = nn.Linear(16, 5)
            self.mixer.scale = nn.Linear(16, 1)
            self.mixer.many = nn.ModuleList(nn.Linear(16, 16) for _ in range(5))
            self.shared = shared

    model = tiny_model("llama")
    shared = nn.Linear(16, 16)
    model.model.layers = nn.ModuleList(Block(shared) for _ in range(2))
    # Five experts in a list inside two blocks: the outer list is the list of blocks.
    assert len(find_blocks(model)) == 2
    names = [linear.name for linear in prunable_linears(model)]
    assert sum("many" in name for name in names) == 10
    assert sum("shared" in name for name in names) == 1
    assert not any("chooser" in name or "scale" in name for name in names)


@pytest.mark.parametrize(
    ("config", "router", "pruned"),
    [
        (
            transformers.HunYuanMoEV1Config(
                **SMALL, num_experts=4, moe_topk=2, moe_intermediate_size=[8, 8], head_dim=8
            ),
            "gate.wg",
            {"q_proj", "k_proj", "v_proj", "o_proj", "gate_up_proj", "down_proj"}
            | {"gate_proj", "up_proj"},
        ),
        (
            transformers.JetMoeConfig(**SMALL, num_local_experts=4, kv_channels=8),
            "router.layer",
            {"kv_proj", "weight"},
        ),
    ],
    ids=["hunyuan_v1_moe", "jetmoe"],
)
def test_routers_that_lie_beside_the_experts_are_left_alone(
    config: transformers.PretrainedConfig, router: str, pruned: set[str]
) -> None:
    model = transformers.AutoModelForCausalLM.from_config(config)
    names = [linear.name for linear in prunable_linears(model)]
    assert sum(name.endswith(router) for name, _ in model.named_modules()) >= 2
    assert not any(router in name for name in names)
    assert {linear.projection for linear in prunable_linears(model)} == pruned


def test_a_model_without_blocks_is_refused() -> None:
    model = tiny_model("llama")
    model.model.layers = nn.ModuleList()
    with pytest.raises(AutopruneError, match="no list of blocks"):
        find_blocks(model)
