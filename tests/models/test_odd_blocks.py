"""Models that nobody has seen, and numbers that overflow: pruned, or refused by a clear error."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

from autoprune.errors import AutopruneError
from autoprune.metrics import build_metric
from autoprune.models.loading import load_model
from autoprune.pruning import PruneOutcome, PruningPlan
from autoprune.statistics.statistics import collect_statistics
from tests.support.pruned import block_by_block
from tests.support.tiny_subject import byte_tokenizer, save_subject, tiny_subject

WINDOWS = torch.arange(3, 67).view(2, 32)


class OddConfig(PretrainedConfig):
    model_type = "odd"

    def __init__(self, kind: str = "plain", **rest: Any) -> None:
        super().__init__(**rest)
        self.kind, self.hidden_size, self.vocab_size = kind, 32, 258


class OddBlock(nn.Module):
    """No attention, no familiar name, its state in a tuple; or no linear map at all."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.raw = nn.Parameter(torch.randn(32, 32) / 6)
        if kind != "bare":
            self.mix, self.gate = nn.Linear(32, 48), nn.Linear(48, 32, bias=False)

    def forward(self, state: Tensor, step: int = 0) -> tuple[Tensor, int]:
        if hasattr(self, "mix"):
            return state + self.gate(torch.tanh(self.mix(state))), step + 1
        return state + state @ self.raw, step + 1


class OddModel(PreTrainedModel):
    config_class = OddConfig

    def __init__(self, config: OddConfig) -> None:
        super().__init__(config)
        self.words = nn.Embedding(258, 32)
        self.tower = nn.ModuleList(OddBlock(config.kind) for _ in range(3))
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.words

    def forward(self, input_ids: Tensor, **_: Any) -> CausalLMOutput:
        state, step = self.words(input_ids), 0
        for block in self.tower:
            state, after = block(state, step=step)
            step = after if self.config.kind == "counting" else step
        return CausalLMOutput(logits=state @ self.words.weight.T)


@pytest.fixture(scope="module")
def odd_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    AutoConfig.register("odd", OddConfig)
    AutoModelForCausalLM.register(OddConfig, OddModel)
    folders = {kind: tmp_path_factory.mktemp(kind) for kind in ("plain", "bare", "counting")}
    for kind, folder in folders.items():
        OddModel(OddConfig(kind=kind)).save_pretrained(folder)
        byte_tokenizer().save_pretrained(folder)
    return folders


def pruned(folder: Path) -> PruneOutcome:
    plan = PruningPlan.build(0.5, repair="mrp")
    return block_by_block(load_model(str(folder)).model, WINDOWS, build_metric("wanda"), plan)


def test_a_block_class_nobody_has_seen_is_pruned(odd_folders: dict[str, Path]) -> None:
    made = pruned(odd_folders["plain"])
    assert sorted(made.layer_sparsity) == [
        f"tower.{block}.{name}" for block in range(3) for name in ("gate", "mix")
    ]
    assert made.zeros * 2 == made.prunable == 3 * 2 * 32 * 48


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("bare", "no list of blocks with linear maps"),
        ("counting", "reads more of the one before than its hidden state"),
    ],
)
def test_blocks_that_cannot_be_pruned_are_refused(
    odd_folders: dict[str, Path], kind: str, message: str
) -> None:
    with pytest.raises(AutopruneError, match=message) as refused:
        pruned(odd_folders[kind])
    assert "Odd" in str(refused.value)


def test_float16_that_overflows_is_named_and_float32_is_the_default(tmp_path: Path) -> None:
    subject = tiny_subject()
    with torch.no_grad():
        subject.model.model.layers[0].mlp.up_proj.weight.mul_(3e5)
        subject.model.model.layers[0].mlp.gate_proj.weight.mul_(3e3)
    subject.model.half()
    save_subject(subject, tmp_path)
    half = load_model(str(tmp_path), dtype=torch.float16).model
    with pytest.raises(AutopruneError, match="float16 overflows above 65504"):
        collect_statistics(half, WINDOWS)
    # Shards are computed with in float32, whatever they hold, and nothing overflows.
    assert load_model(str(tmp_path)).model.dtype == torch.float32
    assert pruned(tmp_path).zeros > 0
