"""Bad input for the engine through the command line: a clear error, or a fallback that is said."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import CausalLMOutput

from autoprune.allocation import ALLOCATORS
from autoprune.errors import AutopruneError, UsageError
from autoprune.metrics import METRICS
from autoprune.models.loading import load_model
from autoprune.repair import SOLVERS
from autoprune.statistics.statistics import collect_statistics
from flows.cli import main
from tests.support.tiny_subject import byte_tokenizer


def call(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, Any]:
    code = main([*words, "--json"])
    said = capsys.readouterr()
    return code, json.loads(said.out)


@pytest.fixture
def small(tiny_folder: Path, text_file: Path, home: Path) -> list[str]:
    """A pruning of seconds on two blocks of seven matrices each."""
    words = ["prune", "--model", str(tiny_folder), "--corpus", str(text_file)]
    return [*words, "--metric", "wanda", "--calibration-windows", "2", "--seqlen", "32"]


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["--allocation", "given:0.5/0.6/0.7"], ["3 rates", "2 (one per block)", "14"]),
        (["--allocation", "given:0.5/1.6"], ["1.6", "0 ≤ rate ≤ 1"]),
        (["--pattern", "3:7"], ["not a multiple of 7", "q_proj"]),
        (["--pattern", "2:4", "--sparsity", "0.6"], ["contradicts pattern 2:4"]),
        (["--repair", "alps:damp=0"], ["damp=0", "above 0"]),
        (["--statistics", "true-sequential", "--group", "block"], ["prunes them in steps"]),
    ],
)
def test_a_clear_error(
    capsys: pytest.CaptureFixture[str], small: list[str], words: list[str], parts: list[str]
) -> None:
    code, said = call(capsys, *small, *words)
    assert code == 2
    assert all(part in said["error"] for part in parts), said


@pytest.mark.parametrize("solver", ["mrp:damp=0", "sparsegpt:damp=0"])
def test_a_singular_gram_matrix_is_damped_and_said(
    capsys: pytest.CaptureFixture[str], small: list[str], solver: str
) -> None:
    # 32 tokens cannot span the 64 inputs of down_proj.
    code, record = call(capsys, *small, "--calibration-windows", "1", "--repair", solver)
    assert code == 0
    assert any("down_proj: damping raised from 0 to" in note for note in record["notes"])


def test_float16_that_overflows_is_named_and_float32_is_the_default(
    capsys: pytest.CaptureFixture[str], small: list[str], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=258, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, bos_token_id=0, eos_token_id=1,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight.mul_(3e5)
        model.model.layers[0].mlp.gate_proj.weight.mul_(3e3)
    model.half().save_pretrained(tmp_path)
    byte_tokenizer().save_pretrained(tmp_path)
    half = load_model(str(tmp_path), dtype=torch.float16).model
    with pytest.raises(AutopruneError, match="float16 overflows above 65504"):
        collect_statistics(half, torch.arange(3, 67).view(2, 32))
    # The command line computes in float32, whatever the shards hold, and nothing overflows.
    assert call(capsys, *small, "--model", str(tmp_path))[0] == 0


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


def test_a_block_class_nobody_has_seen_is_pruned(
    capsys: pytest.CaptureFixture[str], small: list[str], odd_folders: dict[str, Path]
) -> None:
    words = [*small, "--model", str(odd_folders["plain"]), "--sparsity", "0.5", "--repair", "mrp"]
    code, record = call(capsys, *words)
    assert code == 0
    assert sorted(record["layer_sparsity"]) == [
        f"tower.{block}.{name}" for block in range(3) for name in ("gate", "mix")
    ]
    assert record["zeros"] * 2 == record["prunable"] == 3 * 2 * 32 * 48


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("bare", "no list of blocks with linear maps"),
        ("counting", "reads more of the one before than its hidden state"),
    ],
)
def test_blocks_that_cannot_be_pruned_are_refused(
    capsys: pytest.CaptureFixture[str],
    small: list[str],
    odd_folders: dict[str, Path],
    kind: str,
    message: str,
) -> None:
    code, said = call(capsys, *small, "--model", str(odd_folders[kind]))
    assert code == 1 and message in said["error"] and "Odd" in said["error"]


@pytest.mark.parametrize(
    ("kind", "registry"),
    [("metrics", METRICS), ("allocators", ALLOCATORS), ("repairs", SOLVERS)],
)
def test_every_choice_is_listed_with_source_needs_and_parameters(
    capsys: pytest.CaptureFixture[str], home: Path, kind: str, registry: Any
) -> None:
    assert main(["ls", kind]) == 0
    text = capsys.readouterr().out
    code, record = call(capsys, "ls", kind)
    assert code == 0
    listed = {item["name"]: item for item in record[kind]}
    assert [*listed] == [*(["auto"] if kind == "allocators" else []), *dict(registry.items())]
    for item in record[kind]:
        line = next(line for line in text.splitlines() if line.split()[:1] == [item["name"]])
        assert item["source"] and item["source"] in line
        assert all(need in line for need in item["needs"])
        assert all(f"{key}=" in line for key in item["params"])
        # Whatever is said to be allowed is taken, and nothing else.
        start = "mrp:" if item["name"] == "walk" else ""
        for key, values in item["allowed"].items():
            assert values and all(value in line for value in values)
            for value in values:
                assert registry.get(item["name"]).from_text(f"{start}{key}={value}")
            with pytest.raises(UsageError, match=" or ".join(values)):
                registry.get(item["name"]).from_text(f"{start}{key}=other")
    if kind == "allocators":
        assert listed["sdsa"]["allowed"]["level"] == ["block", "projection"]
        assert listed["auto"]["tries"][0] == "uniform" and "x_norm" in listed["auto"]["needs"]
