"""Saved folders open with stock transformers, hold the counted zeros, or do not appear."""

import json
import resource
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from autoprune.errors import AutopruneError
from autoprune.models import saving
from autoprune.models.record import RECORD_FILE
from autoprune.models.reference import resolve
from autoprune.models.saved_type import checkpoint_type, weight_bytes
from autoprune.models.saving import count_zeros, save_model
from autoprune.models.structure import prunable_linears
from tests.support.forked import ended, start
from tests.support.tiny_models import FAMILIES, random_windows, tiny_model


@pytest.mark.parametrize("family", FAMILIES)
def test_round_trip_through_stock_transformers(family: str, tmp_path: Path) -> None:
    model = tiny_model(family)
    zeros = 0
    for number, linear in enumerate(prunable_linears(model)):
        weight = linear.read().clone()
        weight[:, : 1 + number % 3] = 0
        zeros += int((weight == 0).sum())
        linear.write(weight)
    saved = save_model(model, None, tmp_path / "model", {"metric": "wanda"})
    assert saved.zeros.zeros == zeros
    assert saved.zeros.prunable == sum(x.numel for x in prunable_linears(model))
    assert count_zeros(tmp_path / "model") == saved.zeros
    opened = AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()
    windows = random_windows()
    with torch.no_grad():
        torch.testing.assert_close(opened(windows).logits, model(windows).logits)
    record = json.loads((tmp_path / "model" / RECORD_FILE).read_text())
    assert record["metric"] == "wanda"
    assert record["checkpoint"]["zeros"] == zeros
    assert record["checkpoint"]["total"] >= sum(p.numel() for p in model.parameters()) - 96 * 16


def test_the_saved_model_generates_with_a_cache_and_ours_still_does_not(tmp_path: Path) -> None:
    model = tiny_model("llama")
    save_model(model, None, tmp_path / "model", {})
    assert model.config.use_cache is False
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "model").config.use_cache is True


def test_an_existing_folder_is_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / "stale.txt").write_text("old")
    save_model(tiny_model("llama"), None, target, {})
    assert not (target / "stale.txt").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_weights_that_lie_there_twice_count_once(tmp_path: Path) -> None:
    for name, size in (("model.safetensors", 10), ("consolidated.safetensors", 10)):
        (tmp_path / name).write_bytes(bytes(size))
    assert weight_bytes(tmp_path) == 10
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "model-00001-of-00001.safetensors").write_bytes(bytes(7))
    places = {"weight_map": {"a": "model-00001-of-00001.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(places))
    assert weight_bytes(tmp_path) == 7
    # An index that names a file that is not there says nothing.
    (tmp_path / "consolidated.safetensors").unlink()
    places["weight_map"]["b"] = "model-00002-of-00002.safetensors"
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(places))
    assert weight_bytes(tmp_path) == 7
    (tmp_path / "model.safetensors").write_bytes(bytes(3))
    assert weight_bytes(tmp_path) == 3


def test_no_space_is_seen_before_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000})())
    with pytest.raises(AutopruneError, match="MB free; nothing was written"):
        save_model(tiny_model("llama"), None, tmp_path / "model", {})
    assert list(tmp_path.iterdir()) == []
    # What a killed save left there is removed first, since it takes the room of a model.
    left = tmp_path / ".model.saving-abcdefgh"
    left.mkdir()
    (left / "model.safetensors").write_text("half")

    def free(_: Path) -> SimpleNamespace:
        return SimpleNamespace(free=1000 if left.exists() else 10**9)

    monkeypatch.setattr("shutil.disk_usage", free)
    save_model(tiny_model("llama"), None, tmp_path / "model", {})


@pytest.mark.parametrize("family", ["llama", "gpt2", "mixtral"])
def test_weights_are_saved_narrower_and_stay_as_they_were_in_memory(
    family: str, tmp_path: Path
) -> None:
    model = tiny_model(family)
    norm = next(value for value in model.parameters() if value.dim() == 1)
    with torch.no_grad():
        norm.fill_(1.001)  # a bfloat16 holds three digits
    before = {name: value.clone() for name, value in model.state_dict().items()}
    shown = model.config.dtype
    save_model(model, None, tmp_path / "narrow", {}, dtype=torch.bfloat16)
    assert model.dtype == torch.float32 and model.config.dtype == shown
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    opened = AutoModelForCausalLM.from_pretrained(tmp_path / "narrow", dtype="auto")
    assert opened.dtype == torch.bfloat16
    for name, value in opened.state_dict().items():
        assert torch.equal(value, before[name].to(value.dtype)), name
    stored: dict[str, torch.Tensor] = {}
    for file in (tmp_path / "narrow").glob("*.safetensors"):
        stored |= load_file(file)
    wide = [value for value in stored.values() if value.dtype == torch.float32]
    assert [value.dim() for value in wide] == [1] and torch.equal(wide[0], norm)
    assert checkpoint_type(resolve(str(tmp_path / "narrow"))) == torch.bfloat16


def test_a_disk_that_fills_up_while_writing_leaves_nothing(tmp_path: Path) -> None:
    model = tiny_model("llama")

    def write_with_limit() -> None:
        torch.set_num_threads(1)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
        with pytest.raises(AutopruneError, match=r"could not write .*free some space"):
            save_model(model, None, tmp_path / "model", {})

    assert ended(start(write_with_limit)) == 0
    assert list(tmp_path.iterdir()) == []


def test_counting_needs_safetensors(tmp_path: Path) -> None:
    with pytest.raises(AutopruneError, match="holds no safetensors"):
        count_zeros(tmp_path)


@pytest.mark.parametrize("family", ["mixtral", "qwen3_moe"])
def test_a_model_of_experts_is_counted_without_a_second_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    model = tiny_model(family)
    for linear in prunable_linears(model):
        linear.write(linear.read() * (linear.read() > 0))
    with monkeypatch.context() as patch:
        patch.setattr(saving, "open_causal", lambda *_args, **_: pytest.fail("a second copy"))
        saved = save_model(model, None, tmp_path / "model", {}, dtype=torch.bfloat16)
    assert saved.zeros == count_zeros(tmp_path / "model") and saved.zeros.sparsity > 0.4
