"""Compact checkpoints give back every bit, and are smaller."""

import json
import os
import shutil
from functools import partial
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from autoprune.checkpoint.compact import (
    expand_compact,
    is_compact,
    require_equal,
    write_compact,
)
from autoprune.checkpoint.encodings import ENCODINGS, bits_equal
from autoprune.errors import AutopruneError, DamagedFileError, UnknownNameError, UsageError

DTYPES = [torch.bfloat16, torch.float16, torch.float32]


def sparse(shape: tuple[int, ...], share: float, dtype: torch.dtype, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(shape, generator=generator)
    return weight.masked_fill(torch.rand(shape, generator=generator) < share, 0).to(dtype)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=128, hidden_size=64, intermediate_size=160, num_hidden_layers=2,
        num_attention_heads=4, tie_word_embeddings=True,
    )  # fmt: skip
    model = LlamaForCausalLM(config).to(torch.bfloat16)
    for name, parameter in model.named_parameters():
        if "proj" in name:
            parameter.data.copy_(sparse(tuple(parameter.shape), 0.6, torch.bfloat16))
    path = tmp_path_factory.mktemp("dense") / "model"
    model.save_pretrained(path, max_shard_size="60KB")
    return path


def test_an_unreadable_file_of_the_source_is_named(folder: Path, tmp_path: Path) -> None:
    source = shutil.copytree(folder, tmp_path / "source")
    (source / "notes.md").symlink_to(tmp_path / "gone")
    with pytest.raises(DamagedFileError, match=r"notes\.md cannot be read"):
        write_compact(source, tmp_path / "compact")
    assert not (tmp_path / "compact").exists()


@pytest.mark.parametrize("encoding", ["bitmask", "csr"])
@settings(max_examples=80, deadline=None)
@given(
    rows=st.integers(0, 9),
    columns=st.integers(0, 21),
    share=st.floats(0, 1),
    dtype=st.sampled_from(DTYPES),
)
def test_every_tensor_comes_back_to_the_bit(
    encoding: str, rows: int, columns: int, share: float, dtype: torch.dtype
) -> None:
    tensor = sparse((rows, columns), share, dtype)
    if tensor.numel() > 3:
        tensor.view(-1)[:4] = torch.tensor([-0.0, float("nan"), float("-inf"), 0.0])
    coder = ENCODINGS.get(encoding)
    parts = coder.encode(tensor)
    # The bit pattern of -0.0 is not zero, so it is stored.
    zeros = (tensor == 0) & ~tensor.signbit()
    assert parts["values"].numel() == tensor.numel() - int(zeros.sum())
    assert bits_equal(coder.decode(parts, tuple(tensor.shape)), tensor)


@pytest.mark.parametrize("encoding", ["bitmask", "csr"])
def test_folder_comes_back_and_loads_with_stock_transformers(
    folder: Path, tmp_path: Path, encoding: str
) -> None:
    size = write_compact(folder, tmp_path / "compact", encoding=encoding)
    assert is_compact(tmp_path / "compact")
    assert not is_compact(folder)
    assert size.encoded == 14
    written = list((tmp_path / "compact").glob("*.compact.safetensors"))
    assert len(written) > 1
    assert size.compact_bytes == sum(path.stat().st_size for path in written)
    expand_compact(tmp_path / "compact", tmp_path / "stock")
    assert {p.name for p in (tmp_path / "stock").iterdir()} == {p.name for p in folder.iterdir()}
    originals = {k: v for p in folder.glob("*.safetensors") for k, v in load_file(p).items()}
    restored = {
        k: v for p in (tmp_path / "stock").glob("*.safetensors") for k, v in load_file(p).items()
    }
    assert originals.keys() == restored.keys()
    for path in folder.glob("*.safetensors"):
        # The record of the checkpoint names the digests of these files.
        assert (tmp_path / "stock" / path.name).read_bytes() == path.read_bytes()
    for name, tensor in originals.items():
        assert bits_equal(restored[name], tensor)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "stock")
    assert bits_equal(model.model.embed_tokens.weight, originals["model.embed_tokens.weight"])


def test_dense_tensors_stay_as_they_are(tmp_path: Path) -> None:
    dense = {"a": sparse((64, 64), 0.0, torch.bfloat16), "count": torch.arange(8).reshape(2, 4)}
    dense |= {"causal": torch.ones(3, 3).tril().bool(), "turns": torch.ones(2, dtype=torch.cfloat)}
    (tmp_path / "in").mkdir()
    save_file(dense, tmp_path / "in" / "model.safetensors")
    size = write_compact(tmp_path / "in", tmp_path / "out")
    assert (size.encoded, size.tensors) == (0, 4)
    assert size.compact_bytes < size.dense_bytes + 300
    assert require_equal(tmp_path / "in", tmp_path / "out") == 4
    assert not bits_equal(dense["causal"], ~dense["causal"])


def test_a_file_comes_back_byte_for_byte_whatever_its_header(tmp_path: Path) -> None:
    dense = {"b": sparse((8, 16), 0.6, torch.bfloat16), "a": sparse((4, 4), 0.0, torch.float32)}
    dense |= {"none": torch.zeros(0, 3), "one": torch.tensor(7), "turns": torch.ones(2, 2).cfloat()}
    (tmp_path / "in").mkdir()
    file = tmp_path / "in" / "model.safetensors"
    save_file(dense, file)
    # Another order of names, no metadata and padding, none of which this safetensors writes.
    raw = file.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    names = dict(reversed(json.loads(raw[8 : 8 + length]).items()))
    names.pop("__metadata__", None)
    header = json.dumps(names).encode() + b" " * 24
    file.write_bytes(len(header).to_bytes(8, "little") + header + raw[8 + length :])
    write_compact(tmp_path / "in", tmp_path / "compact")
    expand_compact(tmp_path / "compact", tmp_path / "out")
    assert (tmp_path / "out" / file.name).read_bytes() == file.read_bytes()


def test_what_is_not_free_is_never_replaced(folder: Path, tmp_path: Path) -> None:
    write_compact(folder, tmp_path / "compact")
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("mine")
    for write in (partial(write_compact, folder), partial(expand_compact, tmp_path / "compact")):
        with pytest.raises(UsageError, match="is not empty and holds no saved model"):
            write(other, overwrite=True)
        with pytest.raises(UsageError, match="pass overwrite=True"):
            write(tmp_path / "compact" if write.func is write_compact else folder)
    assert (other / "thesis.txt").read_text() == "mine"
    again = write_compact(folder, tmp_path / "compact", overwrite=True)
    assert again.encoded == 14


def test_smaller_than_0_6(tmp_path: Path) -> None:
    # The shares of SmolLM2-135M: a fifth of the weights are embeddings, which stay dense.
    tensors = {"embedding": sparse((2100, 1000), 0.0, torch.bfloat16)}
    tensors |= {f"layer{i}": sparse((1000, 1000), 0.6, torch.bfloat16, i) for i in range(8)}
    (tmp_path / "in").mkdir()
    save_file(tensors, tmp_path / "in" / "model.safetensors")
    assert write_compact(tmp_path / "in", tmp_path / "out").ratio < 0.6


def test_damage_is_named(folder: Path, tmp_path: Path) -> None:
    write_compact(folder, tmp_path / "compact")
    victim = next((tmp_path / "compact").glob("*.compact.safetensors"))
    data = bytearray(victim.read_bytes())
    data[-1] ^= 1
    victim.write_bytes(bytes(data))
    with pytest.raises(DamagedFileError, match=victim.name):
        expand_compact(tmp_path / "compact", tmp_path / "stock")
    assert not (tmp_path / "stock").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["compact"]
    victim.unlink()
    with pytest.raises(DamagedFileError, match=victim.name):
        expand_compact(tmp_path / "compact", tmp_path / "stock")
    dense = shutil.copytree(folder, tmp_path / "dense")
    shard = max(dense.glob("*.safetensors"))
    for size in (shard.stat().st_size - 1, 3):
        os.truncate(shard, size)
        with pytest.raises(DamagedFileError, match=f"{shard.name} cannot be read"):
            write_compact(dense, tmp_path / "small")
        assert not (tmp_path / "small").exists()


def test_a_full_disk_is_no_damage(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    def full_plainly(*_: object) -> None:
        raise OSError(28, "No space left on device")

    write_compact(folder, tmp_path / "compact")
    monkeypatch.setattr("autoprune.checkpoint.compact.save_file", full)
    monkeypatch.setattr("autoprune.checkpoint.compact.write_dense", full_plainly)
    for write, source in ((write_compact, folder), (expand_compact, tmp_path / "compact")):
        with pytest.raises(AutopruneError, match=r"could not write .*No space left") as caught:
            write(source, tmp_path / "out")
        assert not isinstance(caught.value, DamagedFileError)
    assert [path.name for path in tmp_path.iterdir()] == ["compact"]


def test_record_cannot_lead_outside_its_folder(folder: Path, tmp_path: Path) -> None:
    write_compact(folder, tmp_path / "compact")
    record = json.loads((tmp_path / "compact" / "compact.json").read_text())
    record["files"] = {"../outside.compact.safetensors": "0" * 64}
    (tmp_path / "compact" / "compact.json").write_text(json.dumps(record))
    with pytest.raises(DamagedFileError, match="plain file name"):
        expand_compact(tmp_path / "compact", tmp_path / "stock")


@pytest.mark.parametrize("encoding", ["bitmask", "csr"])
def test_parts_that_do_not_fit_are_refused(encoding: str) -> None:
    coder = ENCODINGS.get(encoding)
    parts = coder.encode(sparse((8, 16), 0.5, torch.float32))
    with pytest.raises(DamagedFileError):
        coder.decode(parts | {"values": parts["values"][1:]}, (8, 16))
    with pytest.raises(DamagedFileError):
        coder.decode(parts, (9, 16))


def test_wrong_use_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no dense safetensors"):
        write_compact(tmp_path, tmp_path / "out")
    with pytest.raises(UsageError, match="is the source itself"):
        write_compact(folder, folder)
    with pytest.raises(UnknownNameError, match="did you mean bitmask"):
        write_compact(folder, tmp_path / "out", encoding="bitmsk")
    with pytest.raises(UsageError, match=r"holds no compact\.json"):
        expand_compact(folder, tmp_path / "out")


@pytest.mark.parametrize("card", ['# A model\n\nfrom_pretrained(".")\n', None])
def test_the_card_says_how_a_compact_folder_is_opened(
    folder: Path, tmp_path: Path, card: str | None
) -> None:
    dense, compact, back = (tmp_path / name for name in ("dense", "compact", "back"))
    shutil.copytree(folder, dense)
    if card is not None:
        (dense / "README.md").write_text(card)
    write_compact(dense, compact)
    text = (compact / "README.md").read_text()
    assert "autoprune compact THIS_FOLDER DENSE_FOLDER" in text
    assert 'from_pretrained(".")' not in text
    # Its own card knows whether transformers opens the dense folder; blocks may differ in width.
    assert ("AutoModelForCausalLM" in text) is (card is None)
    assert ("as [its card](README.dense.md) says" in text) is (card is not None)
    assert (compact / "README.dense.md").exists() is (card is not None)
    # What the card tells in Python is what is done here.
    code = text.split("```python\n")[1].split("```")[0]
    exec(code.replace("THIS_FOLDER", str(compact)).replace("DENSE_FOLDER", str(back)), {})
    assert {p.name: p.read_bytes() for p in back.iterdir()} == {
        p.name: p.read_bytes() for p in dense.iterdir()
    }


def test_a_compact_folder_of_an_earlier_version_keeps_its_card(
    folder: Path, tmp_path: Path
) -> None:
    dense, compact, back = (tmp_path / name for name in ("dense", "compact", "back"))
    shutil.copytree(folder, dense)
    write_compact(dense, compact)
    record = json.loads((compact / "compact.json").read_text())
    del record["card"]
    (compact / "compact.json").write_text(json.dumps(record))
    (compact / "README.md").write_text("the dense card")
    assert (expand_compact(compact, back) / "README.md").read_text() == "the dense card"
