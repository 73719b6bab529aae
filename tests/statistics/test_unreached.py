"""Experts that no calibration token reached: pooled statistics, with a note."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.models.jetmoe.modeling_jetmoe import JetMoeParallelExperts

from autoprune.bench.scoring import OFFERED
from autoprune.metrics import build_metric
from autoprune.models.structure import PrunableLinear, find_blocks, prunable_linears
from autoprune.pruning import MetricScore, PruningPlan, prune
from autoprune.statistics import accumulator, recorder
from autoprune.statistics.accumulator import InputAccumulator
from autoprune.statistics.layer_files import write_layer_files
from autoprune.statistics.recorder import BlockRecorder, kind_of
from autoprune.statistics.statistics import ALL, Statistics, collect_statistics
from tests.support.pruned import block_by_block
from tests.support.tiny_models import random_windows, tiny_model

FAMILIES = ["mixtral", "qwen3_moe"]
IDLE = 3


def with_idle_expert(family: str) -> PreTrainedModel:
    """One expert per token, and the last expert's logit is the mean of two others': never first."""
    model = tiny_model(family)
    for module in model.modules():
        if hasattr(module, "top_k") and isinstance(getattr(module, "weight", None), nn.Parameter):
            module.top_k = 1
            with torch.no_grad():
                module.weight[IDLE] = (module.weight[0] + module.weight[1]) / 2
    return model


def expert_inputs(model: PreTrainedModel, windows: Tensor) -> dict[int, Tensor]:
    """What the experts of each block read, all tokens: [tokens, i] by block."""
    seen: dict[int, Tensor] = {}
    hooks = []
    for index, block in enumerate(find_blocks(model)):
        mlp: Any = block.mlp
        if hasattr(mlp, "experts"):
            hooks.append(
                mlp.experts.register_forward_pre_hook(
                    lambda _, args, index=index: seen.update(
                        {index: args[0].reshape(-1, args[0].shape[-1]).double()}
                    )
                )
            )
    with torch.no_grad():
        model(windows)
    for hook in hooks:
        hook.remove()
    return seen


@pytest.mark.parametrize("family", FAMILIES)
def test_an_idle_expert_gets_the_statistics_of_all_tokens_of_the_others(family: str) -> None:
    model, windows = with_idle_expert(family), random_windows(6, 20)
    seen = expert_inputs(model, windows)
    statistics = collect_statistics(model, windows, needs=ALL)
    assert seen
    for block, x in seen.items():
        name = f"model.layers.{block}.mlp.experts.gate_up_proj[{IDLE}]"
        found = statistics.of(name)
        assert torch.allclose(found["x_norm"].double(), x.square().mean(0).sqrt(), rtol=1e-4)
        assert torch.allclose(found["x_mean"].double(), x.mean(0), atol=1e-5)
        assert torch.allclose(found["x_var"].double(), x.var(0, correction=0), rtol=1e-3)
        assert torch.equal(found["x_max"].double(), x.abs().amax(0))
        assert torch.allclose(found["gram"].double(), x.T @ x / len(x), atol=1e-4)
        assert bool((found["hessian_diag"] > 0).all()) and bool(found["grad_norm"].any())
    kinds = {note.split(":")[0] for note in statistics.notes}
    for block in seen:
        assert f"model.layers.{block}.mlp.experts.down_proj" in kinds
    assert all("reached 1 of 4" in note and "pooled" in note for note in statistics.notes)
    assert Statistics.from_stored(statistics.to_stored()).notes == statistics.notes


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("way", ["one-shot", "sequential", "true-sequential"])
def test_its_mask_is_chosen_by_scores_and_the_outcome_says_so(family: str, way: str) -> None:
    model, windows = with_idle_expert(family), random_windows(6, 20)
    layers = prunable_linears(model)
    plan, wanda = PruningPlan(0.5), build_metric("wanda")
    idle = next(layer for layer in layers if layer.expert == IDLE)
    weight = idle.read().clone()
    if way == "one-shot":
        x = expert_inputs(model, windows)[idle.block]
        statistics = collect_statistics(model, windows)
        outcome = prune(model, MetricScore(wanda), plan, statistics=statistics)
    else:
        outcome = block_by_block(model, windows, wanda, plan, way)
        # The attention before the experts is pruned by then, and so it stays.
        x = expert_inputs(model, windows)[idle.block]
    if way != "sequential":
        scores = weight.double().abs() * x.square().mean(0).sqrt()
        half = scores.shape[1] // 2
        lowest = scores.argsort(dim=1)[:, :half]
        expected = torch.ones_like(scores, dtype=torch.bool).scatter(1, lowest, False)
        assert torch.equal(outcome.keep[idle.name], expected)
    by_index = torch.arange(weight.shape[1]) >= weight.shape[1] // 2
    assert not torch.equal(outcome.keep[idle.name], by_index.expand_as(weight))
    assert sum(note.startswith(f"{kind_of(idle)}:") for note in outcome.notes) == 1
    assert outcome.zeros * 2 == outcome.prunable


def test_every_expert_reached_leaves_no_note() -> None:
    model = tiny_model("mixtral")
    assert collect_statistics(model, random_windows(8, 20)).notes == ()


def test_a_raised_damping_of_the_curvature_is_noted_once_for_each_input(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, windows = tiny_model("llama"), random_windows(1, 4)  # fewer tokens than features
    needs = {"hessian_diag"}
    assert collect_statistics(model, windows, needs=needs).notes == ()
    monkeypatch.setattr(accumulator, "DAMPING", 1e-12)
    monkeypatch.setattr(recorder, "DAMPING", 1e-12)
    notes = collect_statistics(model, windows, needs=needs).notes
    assert len(notes) == len(set(notes)) == 3 * 4  # q, k, v; o; gate, up; down
    start = "model.layers.0.self_attn.q_proj: damping of the curvature raised from 1e-12 to 1e-"
    assert notes[0].startswith(start)


class ModuleExperts(nn.Module):
    """Three experts that are modules, each called with its tokens even where there are none."""

    def __init__(self) -> None:
        super().__init__()
        self.experts = nn.ModuleList(nn.Linear(8, 6, bias=False) for _ in range(3))

    def forward(self, x: Tensor, sizes: list[int]) -> Tensor:
        chosen = torch.arange(3).repeat_interleave(torch.tensor(sizes))
        return torch.cat([expert(x[chosen == n]) for n, expert in enumerate(self.experts)])


def made_of_modules() -> tuple[nn.Module, list[PrunableLinear]]:
    block = ModuleExperts()
    return block, [
        PrunableLinear(f"b.0.{n}", 0, "0", (6, 8), f"b.0.{n}.weight", expert, "weight")
        for n, expert in enumerate(block.experts)
    ]


def fused() -> tuple[nn.Module, list[PrunableLinear]]:
    block = JetMoeParallelExperts(3, 8, 6)
    nn.init.normal_(block.weight)
    return block, [
        PrunableLinear(f"b.0.w[{n}]", 0, "w", (6, 8), "b.0.w", block, "weight", n) for n in range(3)
    ]


@pytest.fixture(params=[made_of_modules, fused])
def experts(request: pytest.FixtureRequest) -> tuple[nn.Module, list[PrunableLinear], Tensor]:
    """Three experts of each kind, and six tokens for them."""
    return *request.param(), torch.randn(6, 8, generator=torch.Generator().manual_seed(0))


def test_an_expert_called_without_tokens_is_not_reached(
    experts: tuple[nn.Module, list[PrunableLinear], Tensor],
) -> None:
    block, linears, x = experts
    with torch.no_grad(), BlockRecorder(block, linears, ALL - {"grad_norm"}) as found:
        block(x, [4, 2, 0])
    idle = found.results()[linears[2].name]
    torch.testing.assert_close(idle["x_norm"], x.square().mean(0).sqrt())
    (note,) = found.notes
    assert "reached 1 of 3" in note and "pooled statistics" in note


def test_an_expert_may_be_reached_by_a_later_batch(
    experts: tuple[nn.Module, list[PrunableLinear], Tensor],
) -> None:
    block, linears, x = experts
    with torch.no_grad(), BlockRecorder(block, linears, {"x_norm"}) as found:
        block(x, [6, 0, 0])
        block(x, [0, 2, 4])
    assert not found.notes
    for linear, seen in zip(linears, (x, x[:2], x[2:]), strict=True):
        expected = seen.square().mean(0).sqrt()
        torch.testing.assert_close(found.results()[linear.name]["x_norm"], expected)


def test_without_any_token_no_feature_is_preferred(tmp_path: Path) -> None:
    found = InputAccumulator(5, ALL, torch.device("cpu")).result()
    assert torch.equal(found["x_norm"], torch.ones(5))
    assert torch.equal(found["gram"], torch.eye(5))
    assert torch.equal(found["hessian_diag"], torch.ones(5))
    layer = PrunableLinear("x", 0, "x", (3, 5), "x.weight", nn.Linear(5, 3), "weight")
    (file,) = write_layer_files([layer], Statistics(0, "", {"x": found}), tmp_path, names=OFFERED)
    assert set(load_file(file.path)) == {"W", *OFFERED}
