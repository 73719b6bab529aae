"""The store: made once, checked always, nothing half-written."""

import json
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from autoprune.digest import digest_file
from autoprune.errors import DamagedFileError, UsageError
from autoprune.models.loading import LoadedModel
from autoprune.models.reference import ModelSource
from autoprune.models.structure import prunable_linears
from autoprune.numerics import computed_by
from autoprune.statistics import statistics
from autoprune.statistics.layer_files import write_layer_files
from autoprune.statistics.statistics import (
    AHEAD,
    Statistics,
    collect_statistics,
    found_or_collected,
    stored_statistics,
    verify_statistics,
)
from autoprune.store import Store, Stored
from tests.support.tiny_models import random_windows, tiny_model


def test_made_once_and_read_back(tmp_path: Path) -> None:
    made: list[int] = []

    def make() -> Stored:
        made.append(1)
        return Stored({"x": torch.arange(5.0)}, {"note": "ü"})

    store = Store(tmp_path)
    for _ in range(3):
        found = store.get_or_make({"a": 1}, make)
        assert torch.equal(found.tensors["x"], torch.arange(5.0))
        assert found.meta == {"note": "ü"}
    assert len(made) == 1
    store.get_or_make({"a": 2}, make)
    assert len(made) == 2


def test_many_threads_make_it_once(tmp_path: Path) -> None:
    made: list[int] = []

    def make() -> Stored:
        made.append(1)
        return Stored({"x": torch.ones(3)})

    threads = [
        threading.Thread(target=lambda: Store(tmp_path).get_or_make({"a": 1}, make))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1


def test_damage_is_named(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.get_or_make({"a": 1}, lambda: Stored({"x": torch.ones(100)}))
    path = store.path({"a": 1})
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedFileError, match=path.name):
        store.get_or_make({"a": 1}, lambda: Stored({}))
    sidecar = path.with_suffix(".safetensors.json")
    good = json.loads(sidecar.read_text())
    others = [{"meta": 5}, {"meta": None}, {"meta": [1]}, {"sha256": 5}, {"sha256": None}]
    for text in ("{", "[]", "5", "null", '"sidecar"', *(json.dumps(good | one) for one in others)):
        sidecar.write_text(text)
        with pytest.raises(DamagedFileError, match=sidecar.name):
            store.get_or_make({"a": 1}, lambda: Stored({}))


def test_an_interrupted_making_is_made_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(RuntimeError):
        store.get_or_make({"a": 1}, lambda: (_ for _ in ()).throw(RuntimeError()))
    assert not store.path({"a": 1}).exists()
    store.path({"a": 1}).write_bytes(b"a file whose sidecar was never written")
    found = store.get_or_make({"a": 1}, lambda: Stored({"x": torch.ones(1)}))
    assert found.tensors["x"].item() == 1


def test_statistics_survive_the_store_and_shared_tensors_are_written_once(tmp_path: Path) -> None:
    model, windows = tiny_model("llama"), random_windows()
    loaded = LoadedModel(model, None, ModelSource("tiny", tmp_path, None, "0" * 64))
    store = Store(tmp_path / "store")
    first = stored_statistics(store, loaded, windows)
    again = stored_statistics(store, loaded, windows)
    assert again.digest == first.digest == collect_statistics(model, windows).digest
    for layer, values in first.layers.items():
        assert all(torch.equal(again.of(layer)[name], value) for name, value in values.items())
    # Seven matrices per block read four different inputs.
    assert len(first.to_stored().tensors) == 3 * 4 * 4
    assert stored_statistics(store, loaded, windows[:1]).digest != first.digest


def test_statistics_are_kept_by_the_arithmetic_that_made_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def key(device: str = "cpu") -> dict[str, Any]:
        model: Any = SimpleNamespace(dtype=torch.float32, device=torch.device(device))
        loaded = LoadedModel(model, None, ModelSource("tiny", tmp_path, None, "0" * 64))
        return statistics._key(loaded, random_windows(), {"x_norm"})

    first = key()
    assert key() == first != key("cuda") and key("cuda:0") == key("cuda:1")
    for name in computed_by():
        other = computed_by() | {name: "other"}
        monkeypatch.setattr(statistics, "computed_by", lambda other=other: other)
        assert key() != first


@pytest.mark.parametrize("ahead", AHEAD)
def test_part_of_a_set_collected_ahead_takes_no_pass(tmp_path: Path, ahead: frozenset[str]) -> None:
    model, windows = tiny_model("llama"), random_windows()
    loaded = LoadedModel(model, None, ModelSource("tiny", tmp_path, None, "0" * 64))
    store = Store(tmp_path / "store")
    assert not found_or_collected(store, loaded, windows, needs=ahead)[1]
    part, cached = found_or_collected(store, loaded, windows, needs={"x_norm"})
    assert cached and part.digest == collect_statistics(model, windows, needs={"x_norm"}).digest
    assert len(part.to_stored().tensors) == 3 * 4
    verify_statistics(part, store, loaded, windows, needs={"x_norm"})
    assert not found_or_collected(store, loaded, windows, needs={"x_norm", "gram"})[1]


def test_layer_files_are_anonymous_read_only_and_reused(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    model, windows = tiny_model("llama"), random_windows()
    statistics: Statistics = collect_statistics(model, windows, needs={"x_norm", "gram"})
    layers = prunable_linears(model)
    files = write_layer_files(layers, statistics, tmp_path, names={"x_norm"})
    assert len({f.path for f in files}) == len(layers)
    for layer, file in zip(layers, files, strict=True):
        assert file.layer_name == layer.name
        assert file.path.name == f"{digest_file(file.path)}.safetensors"
        assert file.path.stat().st_mode & 0o777 == 0o444
        tensors = load_file(file.path)
        assert set(tensors) == {"W", "x_norm"}
        assert torch.equal(tensors["W"], layer.read())
        assert b"layers" not in file.path.read_bytes()
    times = [f.path.stat().st_mtime_ns for f in files]
    files[0].path.chmod(0o644)
    files[0].path.write_bytes(b"damaged")
    again = write_layer_files(layers, statistics, tmp_path, names={"x_norm"})
    assert again == files
    assert [f.path.stat().st_mtime_ns for f in files][1:] == times[1:]
    assert digest_file(files[0].path) == files[0].digest
    with pytest.raises(UsageError, match="gram is not for candidates"):
        write_layer_files(layers, statistics, tmp_path, names={"gram"})
    with pytest.raises(UsageError, match="x_var was not collected"):
        write_layer_files(layers, statistics, tmp_path, names={"x_var"})
