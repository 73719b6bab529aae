"""Answers in files: half-written, odd, hostile and good ones; questions that stay themselves."""

import json
import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from autoprune.design.answer_files import LARGEST_BYTES
from autoprune.design.chat import ChatRequest, Message, Reply, Usage
from autoprune.design.mailbox import ANSWERED, Mailbox, Question
from autoprune.digest import digest_json
from autoprune.errors import PrerequisiteError
from tests.support.damaged_answers import damaged

REQUEST = ChatRequest(
    (Message("system", "Answer form:"), Message("user", "well?")), 90, 0.5, 7, "root ::= x"
)
LEFT = {"candidates": 3.0, "seconds": None, "tokens": None, "money": 0.25}


@pytest.fixture
def box(tmp_path: Path) -> Mailbox:
    return Mailbox(tmp_path / "box", "night", settle=0.02)


@pytest.fixture
def asked(box: Mailbox) -> Question:
    question = Question("night", "g1.s0.a0", "explore", REQUEST, LEFT)
    box.post(question)
    return question


def looked(box: Mailbox, name: str) -> Reply | None:
    """What comes when nothing changes for longer than a text takes to settle."""
    box.look(name)
    time.sleep(2 * box.settle)
    return box.look(name)


def test_a_question_is_a_file_and_a_readable_twin(box: Mailbox, asked: Question) -> None:
    body = json.loads((box.folder / f"{asked.id}.json").read_text())
    own = digest_json(["night", REQUEST.digest])[:8]
    assert asked.id == f"g1.s0.a0-{own}" and box.open_ids() == [asked.id]
    assert (
        body["left"] == LEFT and body["grammar"] == "root ::= x" and body["operator"] == "explore"
    )
    assert [m["role"] for m in body["messages"]] == ["system", "user"]
    twin = (box.folder / f"{asked.id}.md").read_text()
    assert "3 candidates, 0.25 money" in twin and "Answer form:" in twin
    assert f"{asked.id}.answer.txt" in twin
    # Another request under the same step is another question, and another run's is not ours.
    assert Question("night", "g1.s0.a0", "x", ChatRequest((), 9, 0.0, 1), LEFT).id != asked.id
    assert Mailbox(box.folder, "other").open_ids() == []


def test_two_searches_may_ask_the_same_in_one_folder(box: Mailbox, asked: Question) -> None:
    other = Mailbox(box.folder, "other", settle=box.settle)
    same = Question("other", asked.step, asked.operator, asked.request, LEFT)
    other.post(same)
    assert (box.open_ids(), other.open_ids()) == ([asked.id], [same.id]) and same.id != asked.id
    other.answer(same.id, "metric: W")
    assert looked(other, same.id) is not None and looked(box, asked.id) is None
    other.remove(same.id)
    assert box.open_ids() == [asked.id] and other.open_ids() == []


def test_text_is_read_when_it_is_left_alone_and_json_when_it_is_whole(
    box: Mailbox, asked: Question
) -> None:
    path = box.folder / f"{asked.id}.answer.txt"
    # However late this process looks, nothing has been left alone for so long.
    patient = Mailbox(box.folder, "night", settle=600.0)
    for part in ("", "because: it", "because: it is\nmetric: abs(W)\n"):
        path.write_text(part)
        assert patient.look(asked.id) is None and patient.unsettled(asked.id)
    assert looked(box, asked.id) == Reply("because: it is\nmetric: abs(W)\n", waited=0.0)
    path.unlink()
    whole = json.dumps({"text": "metric: W", "usage": {"prompt_tokens": 5}})
    path = path.with_suffix(".json")
    path.write_text(whole[:-1])
    assert patient.look(asked.id) is None and patient.fault(asked.id) == ""
    path.write_text(whole)
    assert box.look(asked.id) == Reply("metric: W", Usage(5, 0), waited=0.0)
    # An object by the schema is the answer itself; one that lay here before needs no waiting.
    path.write_text('{"because": "x", "metric": "abs(W)"}')
    found = box.look(asked.id)
    assert found is not None and json.loads(found.text) == {"because": "x", "metric": "abs(W)"}
    path.unlink()
    old = path.with_suffix(".txt")
    old.write_bytes("metric: é".encode("utf-16"))
    os.utime(old, (1.0, 1.0))
    assert Mailbox(box.folder, "night").look(asked.id) == Reply("metric: é", waited=0.0)


def linked(path: Path) -> None:
    path.symlink_to("/etc/hostname")


def hard_linked(path: Path) -> None:
    other = path.parent / "other"
    other.write_text("metric: abs(W)")
    os.link(other, path)


def sparse(path: Path) -> None:
    with path.open("wb") as stream:
        stream.truncate(1 << 36)


FAULTS: list[tuple[str, Callable[[Path], object], str]] = [
    ("txt", linked, "is a link"),
    ("json", lambda path: path.symlink_to(path), "is a link"),
    ("txt", hard_linked, "is a link to another file"),
    ("txt", Path.mkdir, "is not a plain file"),
    ("json", os.mkfifo, "is not a plain file"),
    ("txt", sparse, f"at most {LARGEST_BYTES}"),
    ("txt", lambda path: path.write_bytes(b"metric: \xff\xfe"), "is not UTF-8 text (byte 8)"),
    ("txt", lambda path: path.write_bytes(b"metric\x00"), "zero bytes"),
    ("json", lambda path: path.write_text("[" * 100_000), "is not JSON"),
    ("json", lambda path: path.write_text("[1]"), "no JSON object"),
    ("json", lambda path: path.write_text('{"text": 1}'), "that is not a string"),
    ("json", lambda path: path.write_text('{"text": "", "usage": []}'), "not an object"),
    (
        "json",
        lambda path: path.write_text('{"text": "", "usage": {"prompt_tokens": true}}'),
        "counts no tokens",
    ),
    ("json", lambda path: path.write_text('{"a": ' + "9" * 5000 + "}"), "is not JSON"),
]


@pytest.mark.parametrize(("suffix", "make", "reason"), FAULTS)
def test_what_is_no_answer_leaves_the_question_open_and_says_why(
    box: Mailbox, asked: Question, suffix: str, make: Callable[[Path], object], reason: str
) -> None:
    make(box.folder / f"{asked.id}.answer.{suffix}")
    assert looked(box, asked.id) is None
    assert reason in box.fault(asked.id)
    assert reason in (box.folder / f"{asked.id}.problem.txt").read_text()
    # Beside it a good one is taken, and both are tidied away but for folders.
    good = "json" if suffix == "txt" else "txt"
    text = '{"text": "metric: W"}' if good == "json" else "metric: W"
    (box.folder / f"{asked.id}.answer.{good}").write_text(text)
    assert looked(box, asked.id) == Reply("metric: W", waited=0.0)
    box.remove(asked.id)
    assert box.open_ids() == [] and all(
        path.is_dir() or path.name == "other" for path in box.folder.iterdir()
    )


def test_a_thousand_malformed_answers(box: Mailbox, asked: Question) -> None:
    rng = random.Random(5)
    taken = 0
    for number in range(1000):
        path = box.folder / f"{asked.id}.answer.{rng.choice(['txt', 'json'])}"
        match number % 5:
            case 0:
                path.write_bytes(rng.randbytes(rng.randrange(400)))
            case 1:
                path.write_bytes(damaged(rng).encode("utf-8", "surrogatepass"))
            case 2:
                path.write_text(json.dumps({"text": damaged(rng)})[: rng.randrange(1, 90)])
            case 3:
                encoding = rng.choice(["utf-16", "utf-32", "latin-1", "utf-8-sig", "cp037"])
                path.write_bytes(damaged(rng).encode(encoding, "replace"))
            case _:
                FAULTS[rng.randrange(len(FAULTS))][1](path)
        if path.is_file() and not path.is_symlink():
            os.utime(path, (1.0, 1.0))
        found = box.look(asked.id)
        assert found is None or isinstance(found.text.encode(), bytes)
        taken += found is not None
        if found is not None:
            box.copy(asked, found)
        for left in (path, box.folder / "other"):
            left.rmdir() if left.is_dir() and not left.is_symlink() else left.unlink(True)
    assert 200 < taken < 700
    assert json.loads((box.folder / ANSWERED / f"{asked.id}.json").read_text())["answer"]


def test_folders_that_others_put_in_the_way_stop_nothing(box: Mailbox, asked: Question) -> None:
    (box.folder / ANSWERED / f"{asked.id}.json").mkdir()
    (box.folder / f"{asked.id}.problem.txt").mkdir()
    (box.folder / f"{asked.id}.answer.txt").mkdir()
    assert box.look(asked.id) is None and "not a plain file" in box.fault(asked.id)
    box.answer(asked.id, "metric: \udfff", Usage(3, 4))
    found = box.look(asked.id)
    assert found == Reply("metric: ?", Usage(3, 4), waited=0.0)
    box.copy(asked, found)
    box.remove(asked.id)
    assert box.open_ids() == []


def test_a_folder_that_cannot_be_made_is_a_prerequisite(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PrerequisiteError, match="files:DIR"):
        Mailbox(tmp_path / "file" / "box", "night").check()
