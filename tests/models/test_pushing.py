"""A model is sent whole to a private repository, with the token; without one nothing is sent."""

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from autoprune.errors import AutopruneError, PrerequisiteError, UsageError
from autoprune.models.pushing import check_push, push_to_hub
from tests.support.fake_hub import CALLS, FILES, fake_hub


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with fake_hub(monkeypatch) as address:
        yield address


@pytest.mark.parametrize("whole", [True, False])
def test_a_folder_or_a_file_is_sent(hub: str, tmp_path: Path, whole: bool) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.gguf").write_bytes(b"GGUF of this test")
    what = tmp_path if whole else tmp_path / "model.gguf"
    assert push_to_hub("me/small", what, endpoint=hub).endswith("/commit/" + "1" * 40)
    assert {token for _, token, _ in CALLS} == {"Bearer hf_of_this_test"}
    made = json.loads(CALLS[0][2])
    assert (made["organization"], made["name"], made["visibility"]) == ("me", "small", "private")
    lines = [json.loads(line)["value"] for line in CALLS[-1][2].splitlines()]
    sent = {line["path"]: base64.b64decode(line["content"]) for line in lines if "path" in line}
    expected = {"config.json": b"{}"} if whole else {}
    assert sent == expected | {"model.gguf": b"GGUF of this test"}


def test_a_folder_takes_the_place_of_the_model_before(hub: str, tmp_path: Path) -> None:
    old = ["model.safetensors", "seen_text.npz", "program.py", "config.json"]
    FILES.extend([*old, "small-q4.gguf", "adapter/model.safetensors", ".gitattributes"])
    # A chat template and words of another tokenizer would be taken for this model's.
    words = ["chat_template.jinja", "vocab.json", "tokenizer.model", "autoprune.json"]
    FILES.extend([*words, "tokenizer.json", "README.md"])
    (tmp_path / "tokenizer.json").write_text("{}")
    for name in ("model-00001-of-00002.safetensors", "config.json", "program.py"):
        (tmp_path / name).write_text("{}")
    push_to_hub("me/small", tmp_path, endpoint=hub)
    lines = [json.loads(line) for line in CALLS[-1][2].splitlines()]
    gone = {line["value"]["path"] for line in lines if line["key"] == "deletedFile"}
    assert gone == {"model.safetensors", "seen_text.npz", *words}


@pytest.mark.parametrize("private", [True, False])
def test_a_failed_push_names_the_command_that_sends_what_is_there(
    hub: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, private: bool
) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise ConnectionError("gone")

    monkeypatch.setattr(HfApi, "create_repo", unreachable)
    folder = tmp_path / "my model"
    folder.mkdir()
    for what, line in (
        (folder, f"autoprune export '{folder}' --push-to-hub me/small"),
        (tmp_path / "small.gguf", f"hf upload me/small {tmp_path}/small.gguf small.gguf"),
    ):
        is_usual = private is what.is_dir()
        more = "" if is_usual else " --private" if private else " --no-private"
        with pytest.raises(AutopruneError, match=re.escape(f"run `{line}{more}`")):
            push_to_hub("me/small", what, private=private, endpoint=hub)


def test_nothing_is_sent_without_a_token_or_to_no_hub(
    hub: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF")
    with pytest.raises(UsageError, match="OWNER/NAME"):
        push_to_hub("not a name", file, endpoint=hub)
    # Before anything is computed, and not only when it is sent.
    with pytest.raises(PrerequisiteError, match="cannot be reached"):
        check_push("me/small", endpoint="http://127.0.0.1:9")
    with pytest.raises(PrerequisiteError, match="may only read"), monkeypatch.context() as patch:
        patch.setenv("HF_TOKEN", "hf_that_reads")
        check_push("me/small", endpoint=hub)
    monkeypatch.setattr("autoprune.models.pushing.get_token", lambda: None)
    with pytest.raises(PrerequisiteError, match="no token of the hub"):
        push_to_hub("me/small", file, endpoint=hub)
    assert CALLS == []
