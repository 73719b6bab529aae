"""``autoprune prune --push-to-hub`` sends the saved folder, and asks the hub before it prunes."""

import json
import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from autoprune.errors import AutopruneError, PrerequisiteError
from flows.prune import prune
from flows.prune.params import PruneParams
from tests.support.command_line import CommandLine
from tests.support.fake_hub import CALLS, fake_hub


def unreachable(*_: object, **__: object) -> None:
    raise ConnectionError("gone")


def test_a_pruned_folder_is_sent_with_its_card(
    cli: CommandLine,
    tiny_folder: Path,
    text_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = {
        "model": str(tiny_folder), "metric": "magnitude", "statistics": "dense",
        "corpus": str(text_file), "seqlen": 32, "calibration_windows": 2,
        "out": str(tmp_path / "out"), "push_to_hub": "me/small", "private": False,
    }  # fmt: skip
    with pytest.raises(ValidationError, match="give --out DIR"):
        PruneParams(**values | {"out": None})
    monkeypatch.setattr("autoprune.models.pushing.get_token", lambda: None)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with pytest.raises(PrerequisiteError, match="no token of the hub"):
        prune.fn(PruneParams(**values))
    assert not (tmp_path / "out").exists()
    with fake_hub(monkeypatch) as address:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
        with monkeypatch.context() as patch, pytest.raises(AutopruneError) as failed:
            patch.setattr("autoprune.models.pushing.HfApi.upload_folder", unreachable)
            prune.fn(PruneParams(**values))
        CALLS.clear()
        (line,) = re.findall("run `autoprune (.*)`", str(failed.value))
        assert cli.record(line)["commit"].endswith("/commit/" + "1" * 40)
        assert json.loads(CALLS[0][2])["visibility"] == "public"
        CALLS.clear()
        values |= {"overwrite": True}
        record = prune.fn(PruneParams(**values))
        assert record["commit"].endswith("/commit/" + "1" * 40)
        assert json.loads(CALLS[0][2])["visibility"] == "public"
        lines = [json.loads(line)["value"] for line in CALLS[-1][2].splitlines()]
        sent = {line["path"] for line in lines if "path" in line}
        assert {"README.md", "autoprune.json", "config.json", "model.safetensors"} <= sent
