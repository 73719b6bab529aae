"""The type that a GGUF file's weights are quantised to is read from the file."""

import json
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from autoprune.models.gguf_reading import quantisation
from autoprune.models.reference import ModelSource
from autoprune.models.saved_type import checkpoint_type

Kind = gguf.GGMLQuantizationType


def write(path: Path, kind: Kind) -> ModelSource:
    writer = gguf.GGUFWriter(str(path), "llama")
    weight = np.linspace(-1, 1, 64 * 64, dtype=np.float32).reshape(64, 64)
    data = weight if kind == Kind.F32 else gguf.quants.quantize(weight, kind)
    writer.add_tensor("blk.0.attn_q.weight", data, raw_dtype=kind)
    # Larger than the blocks, and of another type.
    table = np.zeros((512, 64), dtype=np.float16)
    writer.add_tensor("token_embd.weight", table)
    writer.add_tensor("blk.0.attn_norm.weight", np.ones(64, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return ModelSource("tiny", path.parent, path.name, "0" * 64)


@pytest.mark.parametrize(
    ("kind", "shown"), [(Kind.Q4_1, "Q4_1"), (Kind.Q8_0, "Q8_0"), (Kind.F32, "")]
)
def test_the_type_of_most_weights_in_blocks_is_named(
    tmp_path: Path, kind: Kind, shown: str
) -> None:
    source = write(tmp_path / "tiny.gguf", kind)
    assert quantisation(source) == shown
    assert checkpoint_type(source) == (torch.bfloat16 if shown else None)


@pytest.mark.parametrize(
    ("kind", "saved"), [(Kind.F16, torch.float16), (Kind.BF16, torch.bfloat16)]
)
def test_a_plain_half_precision_file_keeps_its_type(
    tmp_path: Path, kind: Kind, saved: torch.dtype
) -> None:
    source = write(tmp_path / "tiny.gguf", kind)
    assert quantisation(source) == "" and checkpoint_type(source) == saved


@pytest.mark.parametrize("name", ["dtype", "torch_dtype"])
def test_a_folder_without_safetensors_keeps_the_type_that_it_states(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"not read")
    (tmp_path / "config.json").write_text(json.dumps({name: "float16"}))
    source = ModelSource("tiny", tmp_path, None, "0" * 64)
    assert checkpoint_type(source) == torch.float16
    (tmp_path / "config.json").write_text("{}")
    assert checkpoint_type(source) is None


def test_stored_masks_and_codes_do_not_make_a_checkpoint_wide(tmp_path: Path) -> None:
    weights = {"w": torch.ones(4, 4, dtype=torch.float16)}
    others = {"mask": torch.ones(4, 4, dtype=torch.bool), "codes": torch.ones(4, 4).byte()}
    save_file(weights | others, tmp_path / "model.safetensors")
    source = ModelSource("tiny", tmp_path, None, "0" * 64)
    assert checkpoint_type(source) == torch.float16
    save_file(weights | {"wide": torch.ones(2, 2)}, tmp_path / "model.safetensors")
    assert checkpoint_type(source) is None


def test_a_folder_is_not_quantised(tmp_path: Path) -> None:
    assert quantisation(ModelSource("tiny", tmp_path, None, "0" * 64)) == ""
