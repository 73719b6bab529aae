"""A GGUF file gives the model that it holds, or is refused: transformers leaves some of it out."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import autoprune
from autoprune.errors import UsageError
from autoprune.models import gguf_reading
from autoprune.models.gguf_writing import export_gguf
from autoprune.models.reference import resolve
from autoprune.names import DEMO_MODEL
from tests.support.exportable import saved

LLAMA_3 = {
    "rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0,
    "high_freq_factor": 4.0, "original_max_position_embeddings": 64,
}  # fmt: skip
LINEAR = {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}


def exported(folder: Path) -> str:
    """A folder's weights in a file, bit for bit."""
    return str(export_gguf(folder, folder.with_suffix(".gguf"), "f32", compute=False).file)


def logits(ref: str) -> torch.Tensor:
    model = autoprune.load(ref).model
    ids = torch.arange(120) * 7 % model.config.vocab_size
    with torch.no_grad():
        found: torch.Tensor = model(ids[None]).logits
    return found


@pytest.mark.parametrize("rope", [LLAMA_3, LINEAR], ids=lambda rope: str(rope["rope_type"]))
def test_scaled_positions_are_read_and_kept(tmp_path: Path, rope: dict[str, Any]) -> None:
    folder = saved(tmp_path / "model", rope_parameters=rope)
    file = exported(folder)
    torch.testing.assert_close(logits(file), logits(str(folder)))
    autoprune.prune(file, "magnitude", 0.01, out=tmp_path / "pruned")
    assert "rope" not in (tmp_path / "pruned" / "tokenizer_config.json").read_text()
    kept = autoprune.load(str(tmp_path / "pruned")).model.config.rope_parameters
    assert {name: kept[name] for name in rope} == pytest.approx(rope)


def test_positions_that_no_configuration_gives_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = exported(saved(tmp_path / "odd", rope_parameters={**LLAMA_3, "low_freq_factor": 1.7}))
    with pytest.raises(UsageError, match=r"odd\.gguf scales positions \(factors of its own\)"):
        autoprune.load(odd)
    file = exported(saved(tmp_path / "yarn"))
    with_field(monkeypatch, "rope.scaling.type", "yarn")
    with pytest.raises(UsageError, match=r"\(yarn\).*name the folder that the file was made from"):
        autoprune.load(file)


def test_one_part_of_several_files_is_refused_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = exported(saved(tmp_path / "model"))
    with_field(monkeypatch, "split.count", 2)
    for opened in (autoprune.load, lambda ref: export_gguf(ref, tmp_path / "again.gguf", "f32")):
        with pytest.raises(UsageError, match=r"model\.gguf is one part .*llama-gguf-split --merge"):
            opened(file)


def test_biases_that_transformers_drops_are_refused(tmp_path: Path) -> None:
    file = exported(saved(tmp_path / "model", attention_bias=True))
    with pytest.raises(UsageError, match=r"has 8 biases, blk\.0\.attn_\S+ first, .* reads 0"):
        autoprune.load(file)


def test_a_head_of_its_own_is_written_whatever_the_configuration_says(tmp_path: Path) -> None:
    folder = saved(tmp_path / "model", tie_word_embeddings=True)
    alike = exported(folder)
    weights = load_file(folder / "model.safetensors")
    torch.manual_seed(0)
    weights["lm_head.weight"] = torch.randn_like(weights["model.embed_tokens.weight"])
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    own = str(export_gguf(folder, tmp_path / "own.gguf", "f32", compute=False).file)
    torch.testing.assert_close(logits(own), logits(str(folder)))
    assert not torch.allclose(logits(own), logits(alike))


def test_only_the_package_s_file_has_a_known_digest(tmp_path: Path) -> None:
    file = tmp_path / DEMO_MODEL.rpartition("/")[2]
    file.write_bytes(b"GGUF of somebody else")
    assert resolve(str(file)).gguf_file == file.name


def with_field(monkeypatch: pytest.MonkeyPatch, name: str, value: object) -> None:
    """Have files say so."""
    real: Callable[..., Any] = gguf_reading._value

    def found(reader: Any, key: str, otherwise: Any) -> Any:
        return value if key.endswith(name) else real(reader, key, otherwise)

    monkeypatch.setattr(gguf_reading, "_value", found)
