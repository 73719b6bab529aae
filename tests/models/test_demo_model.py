"""The demo's real model: loads silently, saves, opens again with the same logits."""

from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from autoprune.models.gguf_reading import shared_gguf_parsing
from autoprune.models.loading import load_model
from autoprune.models.reference import DEMO_MODEL, package_file
from autoprune.models.saving import save_model
from autoprune.models.structure import find_blocks, prunable_linears

pytestmark = pytest.mark.demo


def test_loads_silently_saves_and_opens(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    loaded = load_model(DEMO_MODEL, device="cpu")
    linears = prunable_linears(loaded.model)
    assert len(find_blocks(loaded.model)) == 30
    assert len(linears) == 210
    assert sum(linear.numel for linear in linears) == 106_168_320
    saved = save_model(loaded.model, loaded.tokenizer, tmp_path / "model", {})
    assert saved.zeros.total == 134_515_008
    assert capfd.readouterr() == ("", "")
    opened = AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    ids = tokenizer("The capital of France is", return_tensors="pt").input_ids
    with torch.no_grad():
        assert torch.equal(opened(ids).logits, loaded.model(ids).logits)
        assert tokenizer.decode(opened(ids).logits[0, -1].argmax()) == " Paris"


def test_the_shared_reader_reads_what_the_plain_one_reads() -> None:
    path = str(package_file(DEMO_MODEL))
    plain = gguf.GGUFReader(path)
    with shared_gguf_parsing():
        shared = gguf.GGUFReader(path)
        assert gguf.GGUFReader(path) is shared
    assert gguf.GGUFReader(path) is not shared
    assert list(shared.fields) == list(plain.fields)
    for name, field in plain.fields.items():
        assert shared.fields[name].contents() == field.contents(), name
    for ours, theirs in zip(shared.tensors, plain.tensors, strict=True):
        assert (ours.name, ours.tensor_type) == (theirs.name, theirs.tensor_type)
        assert np.array_equal(ours.data, theirs.data)
