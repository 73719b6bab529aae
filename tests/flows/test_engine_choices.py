"""Choices of the engine through the command line: generated text, streamed or not."""

import json
from pathlib import Path

import pytest

from flows.cli import main

SMALL = ["--samples", "4", "--seqlen", "48", "--json"]


def pruned(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, object]]:
    code = main(["prune", *SMALL, *words])
    said = capsys.readouterr()
    return code, json.loads(said.out or said.err)


def test_self_generated_text_calibrates_streamed_or_not(
    tiny_folder: Path, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = ["--model", str(tiny_folder), "--corpus", "self-generated:seed=2"]
    out = ["--out", str(tmp_path / "out")]
    # The whole model writes, so streaming takes only what was written before.
    code, refused = pruned(capsys, *model, "--stream", *out)
    assert code == 2 and "without --stream" in str(refused)
    code, record = pruned(capsys, *model)
    assert code == 0 and str(record["corpus"]).startswith("self-generated/")
    code, streamed = pruned(capsys, *model, "--stream", *out)
    assert code == 0
    assert streamed["corpus_digest"] == record["corpus_digest"]
    assert streamed["mask_digest"] == record["mask_digest"]


def test_nothing_is_measured_on_generated_text(
    tiny_folder: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["evaluate", "--model", str(tiny_folder), "--corpus", "self-generated", *SMALL[2:]])
    assert code == 2 and "never measure" in capsys.readouterr().err
