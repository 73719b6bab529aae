"""``autoprune export`` writes a checked file, and refuses before it computes."""

import json
from pathlib import Path

import pytest

from flows.cli import main
from tests.support.exportable import saved


def test_a_file_is_written_once_and_described(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autoprune.models.pushing.get_token", lambda: None)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    folder, out = saved(tmp_path / "model"), tmp_path / "model.gguf"
    command = ["export", str(folder), "--gguf", "q8_0", "--out", str(out), "--no-compute", "-q"]
    assert main([*command, "--push-to-hub", "me/small"]) == 4
    assert "no token" in capsys.readouterr().err and not out.exists()
    assert main([*command, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["bytes"] == out.stat().st_size and record["type"] == "q8_0"
    assert record["agreement"] is None and "was not asked" in record["notes"][-1]
    before = out.read_bytes()
    assert main(command) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main([*command, "--overwrite"]) == 0
    assert "all read back" in capsys.readouterr().out and out.read_bytes() == before


@pytest.mark.parametrize(
    ("words", "said"),
    [([], "nothing to do"), (["--gguf", "q8_0"], "go together"), (["--out", "x"], "nothing to do")],
)
def test_half_a_wish_is_refused(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", "any", *words]) == 2
    assert said in capsys.readouterr().err
