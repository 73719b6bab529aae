"""What an installation takes from cells that other machines measured."""

from types import SimpleNamespace
from typing import Any

import pytest

from tasks import compare_remote


def test_a_sealed_figure_that_a_worker_had_kept_is_a_look_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    noted: list[str] = []
    monkeypatch.setattr(compare_remote, "note_look", lambda _, __, title: noted.append(title))
    monkeypatch.setattr(compare_remote, "cell_key", lambda *_: {})
    monkeypatch.setattr(compare_remote, "keep_cell", lambda *_: None)
    bench: Any = SimpleNamespace(records={})
    cell: Any = SimpleNamespace()
    for cached in (False, True):
        record = {"status": "ok", "sealed": [1.0], "title": f"kept: {cached}"}
        compare_remote.take_cell(bench, cell, {"id": "x", "cached": cached, "record": record})
    unsealed = {"status": "ok", "title": "selection alone"}
    compare_remote.take_cell(bench, cell, {"id": "y", "cached": True, "record": unsealed})
    assert noted == ["kept: False", "kept: True"]
