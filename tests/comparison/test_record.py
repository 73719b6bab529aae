"""The record of a comparison: what is damaged or missing is named, what was infinite stays so."""

import json
from pathlib import Path
from typing import Any

import pytest

from autoprune.comparison.cells import CellStore
from autoprune.comparison.record import write_record
from autoprune.comparison.recorded_tables import tables_of_record
from autoprune.digest import digest_json
from autoprune.errors import DamagedFileError, UsageError
from tests.support.comparison_records import body, cell, moved, record


def recorded(folder: Path, outline: dict[str, Any]) -> Path:
    """A record of these cells in a new folder."""
    store = CellStore(folder)

    def kept(key: dict[str, Any], measured: dict[str, Any]) -> dict[str, Any]:
        store.keep(key, measured)
        return {"kept": {"": digest_json(key)}}

    cells = []
    for made in outline["cells"]:
        key = {name: value for name, value in made.items() if name != "record"}
        cells.append(key | kept(key, made["record"]))
    dense = kept({"method": None}, outline["dense"])
    write_record(folder, outline | {"dense": dense, "cells": cells})
    return folder


def test_a_damaged_or_incomplete_record_says_so(tmp_path: Path) -> None:
    folder = recorded(tmp_path / "r", body(cell("wanda", record(moved(0.0), 1.0))))
    assert tables_of_record(str(folder), None, None)["rows"][0]["method"] == "wanda"
    cells = sorted((folder / "cells").glob("*/*.json"))
    text = cells[0].read_text()
    cells[0].write_text(text.replace('"zeros": ', '"zeros": 1'))
    with pytest.raises(DamagedFileError, match="its digest does not match"):
        tables_of_record(str(folder), None, None)
    cells[0].unlink()
    with pytest.raises(DamagedFileError, match="lacks the cell"):
        tables_of_record(str(folder), None, None)
    cells[0].write_text(cells[1].read_text())
    with pytest.raises(DamagedFileError, match="the cell of another key"):
        tables_of_record(str(folder), None, None)
    (folder / "record.json").write_text("{")
    with pytest.raises(DamagedFileError, match="is damaged"):
        tables_of_record(str(folder), None, None)
    with pytest.raises(UsageError, match=r"holds no record\.json"):
        tables_of_record(str(tmp_path), None, None)


def test_a_destroyed_model_comes_back_from_the_record(tmp_path: Path) -> None:
    part = {"nll": [1.0, float("inf")], "perplexity": float("inf"), "tokens": 3, "seconds": 1.0}
    made = {"status": "ok", "sealed": part, "selection": part | {"nll": [1.0, 2.0]}}
    store = CellStore(tmp_path / "a", tmp_path / "b")
    store.keep({"of": "it"}, made)
    (path,) = (tmp_path / "b").glob("cells/*/*.json")
    json.loads(path.read_text(), parse_constant=pytest.fail)
    assert CellStore(tmp_path / "c", tmp_path / "b").find({"of": "it"}) == made
