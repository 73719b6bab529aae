"""The record of a saved model: read, refused where a folder has none, and its files checked."""

import json
from pathlib import Path

import pytest

from autoprune.digest import digest_file
from autoprune.errors import AutopruneError, DamagedFileError, UsageError
from autoprune.models.record import RECORD_FILE, base_model, made_record, read_record, verify_files


def saved(folder: Path, model: str) -> Path:
    folder.mkdir()
    weights = folder / "model.safetensors"
    weights.write_bytes(b"weights")
    files = {weights.name: digest_file(weights)}
    record = {"model": model, "target": 0.5, "checkpoint": {"files": files}}
    (folder / RECORD_FILE).write_text(json.dumps(record))
    return folder


def test_the_base_of_a_folder_is_found_through_all_records(tmp_path: Path) -> None:
    first = saved(tmp_path / "first", "owner/dense")
    second = saved(tmp_path / "second", str(first))
    assert base_model(str(second)) == "owner/dense"
    # Without a record, or with one that is damaged or its own base, it is its own.
    (first / RECORD_FILE).write_text("[]")
    assert base_model(str(second)) == base_model(str(first)) == str(first)
    assert base_model("owner/none") == "owner/none"
    own = saved(tmp_path / "own", str(tmp_path / "own"))
    assert base_model(str(own)) == str(own)


def test_a_folder_without_a_whole_record_was_not_made_here(tmp_path: Path) -> None:
    folder = saved(tmp_path / "made", "owner/dense")
    record = made_record(str(folder))
    assert record == read_record(folder) and read_record(tmp_path) == {}
    for part in ("model", "target", "checkpoint"):
        rest = {key: value for key, value in record.items() if key != part}
        (folder / RECORD_FILE).write_text(json.dumps(rest))
        with pytest.raises(UsageError, match="name a folder that"):
            made_record(str(folder))
    (folder / RECORD_FILE).write_text("{")
    with pytest.raises(DamagedFileError, match="not JSON"):
        read_record(folder)


def test_files_that_differ_from_their_record_are_found(tmp_path: Path) -> None:
    folder = saved(tmp_path / "made", "owner/dense")
    verify_files(folder)
    verify_files(tmp_path)
    (weights,) = folder.glob("*.safetensors")
    weights.write_bytes(b"others")
    with pytest.raises(DamagedFileError, match="is damaged"):
        verify_files(folder)
    weights.unlink()
    with pytest.raises(AutopruneError, match="is missing"):
        verify_files(folder)
