"""Sealed sets by number: which was looked at, which is fresh, and what of it was read before."""

import json
import os
import signal
from pathlib import Path

import pytest

from autoprune.errors import UsageError
from autoprune.text.corpora import Corpus
from autoprune.text.splits import Splits, split
from tasks import ledger_file
from tasks.ledger_file import OLD_FILE, TAKEN, VARIABLE, ledger_path
from tasks.sealed_looks import Looks, count_looks, earlier_looks, record_look, sets_on_record
from tasks.state import State
from tasks.text_split import fresh_split, known_looks
from tests.support.forked import ended, start

WORDS = [f"{letter}{number}" for letter in "abcdefgh" for number in range(40)]


def documents(count: int = 24) -> list[str]:
    """Documents of words of their own, so that no split drops one for what it shares."""
    return [" ".join(f"{word}x{number}" for word in WORDS[:60]) for number in range(count)]


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State.open(tmp_path / "state")


@pytest.fixture
def corpus() -> Corpus:
    return Corpus.of("own text", documents())


def look(state: State, splits: Splits, run: str, **more: str) -> int:
    text, whole = splits.sealed.digest, splits.whole
    return record_look(state, text, run, whole, splits=splits, **more)  # type: ignore[arg-type]


def test_a_look_is_recorded_with_set_number_text_run_kind_date_and_documents(
    state: State, corpus: Corpus
) -> None:
    splits = split(corpus, 3)
    look(state, splits, "search a", kind="search")
    listed, noted = map(json.loads, ledger_path().read_text().splitlines())
    assert listed["set"] == noted["text"] == splits.sealed.digest
    assert noted["number"] == listed["number"] == 3
    assert (noted["corpus"], noted["run"], noted["kind"]) == ("own text", "search a", "search")
    assert noted["date"].startswith("20") and noted["whole"] == splits.whole
    assert len(set(listed["documents"])) == len(splits.sealed_documents) > 3
    assert listed["documents"] == list(splits.sealed_documents)
    # The documents of a set are listed once.
    assert look(state, splits, "evaluation b", kind="evaluate") == 2
    assert len(ledger_path().read_text().splitlines()) == 3


def test_the_ledger_outlives_the_state_folder_and_is_that_of_the_installation(
    state: State, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look(state, split(corpus, 0), "search a")
    assert not list(state.root.glob("sealed*"))
    other = State.open(tmp_path / "another folder")
    assert earlier_looks(other, split(corpus, 0)).earlier == 1
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    assert ledger_path() == tmp_path / "xdg" / "autoprune" / "sealed-looks.jsonl"
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert ledger_path() == tmp_path / "home/.local/state/autoprune/sealed-looks.jsonl"
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    with pytest.raises(UsageError, match=f"is a folder; set {VARIABLE} to a file"):
        ledger_path()
    (tmp_path / "plain").touch()
    monkeypatch.setenv(VARIABLE, str(tmp_path / "plain" / "file"))
    with pytest.raises(UsageError, match=VARIABLE):
        ledger_path()


def test_entries_of_the_state_folder_are_taken_over_once(
    state: State, corpus: Corpus, tmp_path: Path
) -> None:
    splits = split(corpus, 0)
    text = splits.sealed.digest
    old = [{"text": text, "run": f"search {n}", "whole": splits.whole} for n in range(3)]
    (state.root / OLD_FILE).write_text("".join(json.dumps(line) + "\n" for line in old))
    # One of them was taken over already when its process was killed.
    ledger_path().write_text(json.dumps(old[0]) + "\n")
    assert count_looks(state, text) == 3
    assert not (state.root / OLD_FILE).exists() and (state.root / TAKEN).is_file()
    assert count_looks(State.open(tmp_path / "other"), text) == 3
    assert look(state, splits, "search new") == 4
    assert len(ledger_path().read_text().splitlines()) == 5


def test_the_command_that_looks_does_not_count_as_an_earlier_one(
    state: State, corpus: Corpus
) -> None:
    splits = split(corpus, 0)
    for cell in range(4):
        look(state, splits, f"cell {cell}", kind="compare", command="comparison one")
    assert earlier_looks(state, splits, "comparison one").earlier == 0
    assert earlier_looks(state, splits, "comparison two").earlier == 4
    # A command that goes on, or a report that is written again, has the count that it began with.
    look(state, splits, "search after it")
    look(state, splits, "cell 9", command="comparison one")
    assert earlier_looks(state, splits, "comparison one").earlier == 0
    assert earlier_looks(state, splits, "search after it").earlier == 4
    look(state, split(corpus, 1), "another set")
    assert earlier_looks(state, splits).earlier == 6


def test_documents_that_other_sets_share_are_counted_honestly(state: State, corpus: Corpus) -> None:
    first, second = split(corpus, 0), split(corpus, 1)
    common = set(first.sealed_documents) & set(second.sealed_documents)
    assert 0 < len(common) < len(second.sealed_documents)
    look(state, first, "search a")
    known = earlier_looks(state, second)
    assert (known.earlier, known.shared, known.documents) == (
        0, len(common), len(second.sealed_documents),
    )  # fmt: skip
    assert known.facts == (
        f"sealed set 1, no earlier look; {len(common)} of its {known.documents} documents stood in "
        "sealed text that was looked at before"
    )
    assert known.warning == ""
    again = earlier_looks(state, first)
    assert (again.earlier, again.shared) == (1, again.documents)
    assert "looked at once before" in again.warning and "--text-split fresh" in again.warning
    # A look of an earlier version has no list of documents, so that the share is a lower bound.
    record_look(state, "ab" * 32, "old search", first.whole)
    assert earlier_looks(state, second).facts.count("at least") == 1


def test_a_look_at_the_whole_text_is_an_earlier_look_at_every_set(
    state: State, corpus: Corpus
) -> None:
    Looks(state, "evaluation of all").note(corpus.digest, corpus.digest)
    known = earlier_looks(state, split(corpus, 2))
    assert (known.earlier, known.whole, known.shared) == (1, 1, known.documents)
    assert known.facts.startswith("sealed set 2, 1 earlier look (1 at the whole text);")


def write(path: Path, texts: list[str]) -> str:
    rows = (json.dumps({"text": text}) for text in texts)
    path.write_text("\n".join(rows), encoding="utf-8")
    return str(path)


def test_fresh_is_the_lowest_number_that_nobody_looked_at(state: State, tmp_path: Path) -> None:
    from autoprune.text.corpora import load_corpus

    file = write(tmp_path / "text.jsonl", documents())
    corpus = load_corpus(file)
    assert fresh_split(state, [file]).number == 0
    for number in (0, 1, 3):
        look(state, split(corpus, number), f"search {number}")
    found = fresh_split(state, [file])
    assert found.number == 2 and found.sets[0].earlier == 0
    # The same text in a ledger without numbers, as earlier versions wrote it.
    record_look(state, split(corpus, 2).sealed.digest, "old search", corpus.digest)
    assert fresh_split(state, [file]).number == 4
    # Whoever reads the whole text spends no single set, and is counted.
    Looks(state, "evaluation").note(corpus.digest, corpus.digest)
    found = fresh_split(state, [file])
    assert found.number == 4 and found.sets[0].whole == 1
    for command, earlier in (("search 3", 0), ("search 4", 2)):
        (known,) = known_looks(state, [file], 3, command)
        assert known.earlier == earlier


def test_a_set_that_another_command_holds_is_skipped_unless_there_is_no_other(
    state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from autoprune.text.corpora import load_corpus

    file = write(tmp_path / "text.jsonl", documents())
    held = [split(load_corpus(file), number).sealed.digest for number in (0, 7)]
    assert fresh_split(state, [file], held=held).number == 1
    assert fresh_split(state, [file], first=7, held=held).number == 8
    ordered = Corpus.of("one book", documents(), ordered=True)
    monkeypatch.setattr("tasks.text_split.load_corpus", lambda *_, **__: ordered)
    held = [split(ordered, 0).sealed.digest]
    assert fresh_split(state, ["book"], held=held).number == 0


def test_a_number_is_fresh_for_all_texts_or_not_at_all(state: State, tmp_path: Path) -> None:
    from autoprune.text.corpora import load_corpus

    one = write(tmp_path / "one.jsonl", documents())
    two = write(tmp_path / "two.jsonl", [f"{text} more" for text in documents()])
    look(state, split(load_corpus(one), 0), "search a")
    look(state, split(load_corpus(two), 1), "search b")
    assert fresh_split(state, [one, two]).number == 2


def test_a_text_without_another_split_is_refused(
    state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from autoprune.text.corpora import load_corpus

    few = write(tmp_path / "few.jsonl", documents(3))
    corpus = load_corpus(few)
    for number in range(40):
        look(state, split(corpus, number), f"search {number}")
    with pytest.raises(UsageError, match="gave no sealed set that nobody has looked at"):
        fresh_split(state, [few])
    ordered = Corpus.of("one book", documents(), ordered=True)
    monkeypatch.setattr("tasks.text_split.load_corpus", lambda *_, **__: ordered)
    look(state, split(ordered, 0), "search of the book")
    with pytest.raises(UsageError, match="every number gives the same sealed text"):
        fresh_split(state, ["book"])


def test_sets_on_record_are_listed_the_latest_look_first(state: State, corpus: Corpus) -> None:
    look(state, split(corpus, 7), "search a", kind="search")
    look(state, split(corpus, 7), "promotion b", kind="promote")
    record_look(state, "ab" * 32, "old search", "cd" * 32)
    (known, old) = sorted(sets_on_record(state), key=lambda entry: entry["number"] is None)
    assert (known["number"], known["corpus"], known["looks"]) == (7, "own text", 2)
    assert known["kinds"] == {"search": 1, "promote": 1} and known["first"] <= known["last"]
    assert (old["number"], old["looks"]) == (None, 1)


def test_a_killed_writer_leaves_a_ledger_that_goes_on(state: State, corpus: Corpus) -> None:
    splits = split(corpus, 0)
    real = os.fsync

    def killed(number: int) -> None:
        real(number)
        os.kill(os.getpid(), signal.SIGKILL)

    def write() -> None:
        ledger_file.os.fsync = killed  # type: ignore[attr-defined]
        look(State.open(state.root), splits, "killed")

    assert ended(start(write)) == -signal.SIGKILL
    # It was noted before it looked, and its lock died with it.
    assert earlier_looks(state, splits).earlier == 1
    whole = ledger_path().read_bytes()
    ledger_path().write_bytes(whole[: len(whole) - 30])
    assert look(state, splits, "search b") == 1
    assert earlier_looks(state, splits).documents == len(splits.sealed_documents)
