"""A store that machines share: what one of them made the others read, whole or not at all."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from autoprune.errors import DamagedFileError, UsageError
from autoprune.store import Store, Stored
from tasks.shared import SharedStore, open_store
from tasks.state import State


@pytest.fixture
def make(tmp_path: Path) -> Callable[[str], Store]:
    url = f"file://{tmp_path / 'shared'}"
    return lambda machine: SharedStore(tmp_path / machine, url)


def test_what_one_machine_made_the_next_one_reads(make: Callable[[str], Store]) -> None:
    made: list[int] = []

    def work() -> Stored:
        made.append(1)
        return Stored({"x": torch.arange(4.0)}, {"tokens": 4})

    for machine in ("a", "b", "a"):
        found = make(machine).get_or_make({"what": "statistics"}, work)
        assert torch.equal(found.tensors["x"], torch.arange(4.0)) and found.meta == {"tokens": 4}
    assert made == [1]


def work() -> Stored:
    return Stored({"x": torch.arange(4.0)})


def test_a_copy_that_changed_on_the_way_is_found(
    make: Callable[[str], Store], tmp_path: Path
) -> None:
    make("a").get_or_make({"what": "statistics"}, work)
    (path,) = (tmp_path / "shared").rglob("*.safetensors")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedFileError):
        make("b").get_or_make({"what": "statistics"}, work)


def test_half_a_copy_is_never_taken_for_a_file(
    make: Callable[[str], Store], tmp_path: Path
) -> None:
    make("a").get_or_make({"what": "statistics"}, work)
    second: Any = make("b")
    whole = second._files.get_file

    def torn(source: str, target: str) -> None:
        whole(source, target)
        if source.endswith(".json"):
            Path(target).write_text("{")
            raise OSError("the line is dead")

    second._files.get_file = torn
    try:
        with pytest.raises(OSError, match="the line is dead"):
            second.get_or_make({"what": "statistics"}, work)
    finally:
        second._files.get_file = whole
    assert not list((tmp_path / "b").rglob("*.json"))
    found = make("b").get_or_make({"what": "statistics"}, work)
    assert torch.equal(found.tensors["x"], torch.arange(4.0))


def test_two_machines_may_send_at_the_same_time(
    make: Callable[[str], Store], tmp_path: Path
) -> None:
    one: Any = make("a")
    put, sent = one._files.put_file, []

    def meanwhile(source: str, target: str) -> None:
        """Before a machine's sidecar is sent, another sends all of its own."""
        if source.endswith(".json") and not sent:
            sent.append(target)
            make("b").get_or_make(
                {"what": "statistics"}, lambda: Stored({"x": torch.arange(4.0) + 1e-6})
            )
        put(source, target)

    one._files.put_file = meanwhile
    try:
        one.get_or_make({"what": "statistics"}, work)
    finally:
        one._files.put_file = put
    assert sent
    found = make("c").get_or_make({"what": "statistics"}, work)
    assert torch.equal(found.tensors["x"], torch.arange(4.0))


def test_data_that_is_gone_is_sent_again(make: Callable[[str], Store], tmp_path: Path) -> None:
    make("a").get_or_make({"what": "statistics"}, work)
    (path,) = (tmp_path / "shared").rglob("*.safetensors")
    path.unlink()
    make("b").get_or_make({"what": "statistics"}, work)
    assert path.is_file()


def test_a_folder_is_used_as_it_is(tmp_path: Path) -> None:
    state = State.open(tmp_path / "state")
    assert open_store(state, None).root == state.store
    assert open_store(state, str(tmp_path / "shared")).root == tmp_path / "shared"
    with pytest.raises(UsageError, match="cannot be opened"):
        open_store(state, "nosuch://place")
