"""The ledger of looks at sealed texts: whole entries survive whatever killed their writer."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from autoprune.errors import DamagedFileError
from tasks import ledger_file
from tasks.ledger_file import ledger_path
from tasks.sealed_looks import Looks, count_looks, record_look
from tasks.state import State

TEXT, OTHER = "ab" * 32, "cd" * 32


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State.open(tmp_path / "state")


@pytest.fixture(autouse=True)
def heard(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hear the log whatever a command line did to it in this process before."""
    monkeypatch.setattr(ledger_file.log, "propagate", False)
    monkeypatch.setattr(ledger_file.log, "disabled", False)
    ledger_file.log.addHandler(caplog.handler)
    yield
    ledger_file.log.removeHandler(caplog.handler)


def test_a_last_line_cut_at_any_byte_costs_no_entry(
    state: State, caplog: pytest.LogCaptureFixture
) -> None:
    for run in ("search a", "evaluation b", "comparison ü"):
        record_look(state, TEXT, run)
    whole = ledger_path().read_bytes()
    start = whole[:-1].rindex(b"\n") + 1
    for end in range(start, len(whole) + 1):
        ledger_path().write_bytes(whole[:end])
        caplog.clear()
        # Only when all but the line's end is there was the entry complete.
        complete = end >= len(whole) - 1
        shown = start < end and not complete
        assert count_looks(state, TEXT) == 2 + complete, end
        assert ("the last line is cut" in caplog.text) == shown, end
        assert ledger_path().read_bytes() == whole[:end]
        assert record_look(state, TEXT, "promotion d") == 3 + complete, end
        runs = [json.loads(line)["run"] for line in ledger_path().read_bytes().splitlines()]
        kept = ["search a", "evaluation b"] + ["comparison ü"] * complete
        assert runs == [*kept, "promotion d"], end
        # The one that was cut is noted again when its run looks again.
        assert record_look(state, TEXT, "comparison ü") == 4, end


def test_zeros_that_a_power_cut_leaves_are_a_cut_line(state: State) -> None:
    record_look(state, TEXT, "a")
    ledger_path().write_bytes(ledger_path().read_bytes() + b"\0" * 40)
    assert count_looks(state, TEXT) == 1
    assert record_look(state, TEXT, "b") == 2
    assert len(ledger_path().read_bytes().splitlines()) == 2


def test_a_line_before_the_last_is_never_passed_over(state: State) -> None:
    for run in ("a", "b", "c"):
        record_look(state, TEXT, run)
    lines = ledger_path().read_bytes().splitlines(keepends=True)
    for wrong in (lines[1][:9] + b"\n", b'{"text": "x"}\n', b"7\n"):
        ledger_path().write_bytes(lines[0] + wrong + lines[2])
        for look in (lambda: count_looks(state, TEXT), lambda: record_look(state, TEXT, "d")):
            with pytest.raises(DamagedFileError, match="line 2, is not an entry"):
                look()
    # A last line with its end was written whole; if it is no entry, somebody changed it.
    ledger_path().write_bytes(lines[0] + b"{}\n")
    with pytest.raises(DamagedFileError, match="line 2"):
        count_looks(state, TEXT)


def test_the_same_run_counts_once_for_each_text(state: State) -> None:
    assert [record_look(state, text, "a") for text in (TEXT, TEXT, OTHER)] == [1, 1, 1]
    assert [count_looks(state, text) for text in (TEXT, OTHER, "ef")] == [1, 1, 0]


def test_a_look_at_the_whole_is_one_at_each_of_its_sealed_parts(state: State) -> None:
    whole = "ef" * 32
    first = Looks(state, "evaluation of all")
    first.note(whole, whole)
    # Nobody has split the text yet, so there is nothing to say.
    assert first.counts == {}
    assert record_look(state, TEXT, "search a", whole) == 2
    assert record_look(state, OTHER, "search with another seed", whole) == 2
    assert (count_looks(state, TEXT, whole), count_looks(state, OTHER, whole)) == (2, 2)
    second = Looks(state, "evaluation of all again")
    second.note(whole, whole)
    second.note(TEXT, whole)
    assert second.counts == {whole: 4, TEXT: 3}
    assert count_looks(state, OTHER, whole) == 3


def test_processes_that_note_the_same_cells_count_each_once(state: State) -> None:
    code = """
import random, sys, time
from pathlib import Path
from tasks import sealed_looks
from tasks.sealed_looks import record_look
from tasks.state import State
state = State.open(Path(sys.argv[1]))
(state.root / sys.argv[2]).touch()
while len(list(state.root.glob("ready*"))) < 3:
    time.sleep(0.001)
for number in random.Random(sys.argv[2]).sample(range(60), 60):
    record_look(state, "ab" * 32, f"cell {number}")
"""
    line = [sys.executable, "-c", code, str(state.root)]
    runs = [subprocess.Popen([*line, f"ready{number}"]) for number in range(3)]
    assert [run.wait() for run in runs] == [0, 0, 0]
    entries = [json.loads(line)["run"] for line in ledger_path().read_text().splitlines()]
    assert sorted(entries) == sorted(f"cell {number}" for number in range(60))
