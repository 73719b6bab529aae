"""What an installation takes from cells that other machines measured."""

from types import SimpleNamespace
from typing import Any

import pytest

from autoprune.errors import AutopruneError
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
        answer = {"id": "x", "cached": cached, "record": record, "key": {}}
        compare_remote.take_cell(bench, cell, answer)
    unsealed = {"status": "ok", "title": "selection alone"}
    answer = {"id": "y", "cached": True, "record": unsealed, "key": {}}
    compare_remote.take_cell(bench, cell, answer)
    assert noted == ["kept: False", "kept: True"]


def test_a_figure_that_another_machine_would_not_give_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept: list[str] = []
    ours = {"products": "bfloat16", "device": "cpu", "method": {"parts": ["ebft"]}}
    monkeypatch.setattr(compare_remote, "cell_key", lambda *_: ours)
    monkeypatch.setattr(compare_remote, "keep_cell", lambda _, __, record: kept.append(record))
    bench: Any = SimpleNamespace(records={})
    cell: Any = SimpleNamespace()
    record = {"status": "ok", "title": "wanda+ebft"}
    wrong = {"id": "x", "record": record, "key": ours | {"products": "float32"}}
    with pytest.raises(AutopruneError, match="products 'float32' for 'bfloat16', so its figure"):
        compare_remote.take_cell(bench, cell, wrong)
    assert kept == [] and bench.records == {}
    compare_remote.take_cell(bench, cell, {"id": "x", "record": record, "key": dict(ours)})
    assert kept == [record]
    # What failed has no figure.
    failed = {"status": "unavailable", "title": "gone"}
    compare_remote.take_cell(bench, cell, {"id": "y", "record": failed, "key": None})
    assert kept == [record]
