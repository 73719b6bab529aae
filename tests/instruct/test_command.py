"""``autoprune instruct`` over an endpoint and in files; ``evaluate`` finds what ``bench`` made."""

import json
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from autoprune.design.chat import ChatRequest, Message
from autoprune.design.mailbox import Mailbox
from autoprune.instruct import Answer, Ask
from autoprune.search.spec import DesignerSpec
from flows.cli import main
from flows.evaluate.params import EvaluateParams
from flows.instruct import instructing
from flows.instruct.instructing import ask_in_files
from tasks.design import DesignerSession
from tasks.state import State
from tests.support.chat_server import Answer as Served
from tests.support.chat_server import completion, obedient, serving
from tests.support.forum import BENCHMARK, PLANTED, model_of_forum, write_forum


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AUTOPRUNE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def served(body: dict[str, Any]) -> Served:
    messages = tuple(Message(m["role"], m["content"]) for m in body["messages"])
    if "Post:" not in messages[-1].content:
        return obedient(body)
    request = ChatRequest(messages, body["max_tokens"], body["temperature"], body["seed"])
    usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
    return completion(model_of_forum(request), "stop", **usage)


def run(capsys: pytest.CaptureFixture[str], line: str) -> tuple[int, Any, str]:
    code = main([*line.split(), "--quiet", "--json"])
    out, err = capsys.readouterr()
    return code, json.loads(out) if out else None, err


def test_build_then_bench_by_an_endpoint_asked_once(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_forum(home / "raw.jsonl")
    (home / "bench.txt").write_text(BENCHMARK)
    with serving(served) as chat:
        build = (
            f"instruct build raw.jsonl --until 2023-12-15 --out set --references bench.txt "
            f"--designer openai --base-url {chat.url}"
        )
        code, made, _ = run(capsys, build)
        asked = [body for body in chat.bodies if "Post:" in body["messages"][-1]["content"]]
        assert code == 0 and (made["kept"], made["share_8_words"]) == (57, 11)
        assert made["kept"] + sum(made["rejected"].values()) == made["rows"] == 200
        assert made["asked"] == len(asked) and made["tokens"] == 7 * len(asked)
        assert {body["temperature"] for body in asked} == {0.0, 0.7}
        code, _, err = run(capsys, build)
        assert code == 2 and "--overwrite" in err
        before = len(chat.bodies)
        code, again, _ = run(capsys, f"{build} --overwrite")
        assert (again["asked"], again["known"]) == (0, made["asked"])
        # Not even opened: nobody is asked what an endpoint enforces.
        assert (again["digest"], len(chat.bodies)) == (made["digest"], before)
        designer = f"--designer openai --base-url {chat.url}"
        code, window, _ = run(capsys, f"instruct bench raw.jsonl --from 2024-01 {designer}")
        assert (code, window["kept"]) == (0, PLANTED["young"])
        code, _, err = run(capsys, f"instruct bench raw.jsonl --from 2025 {designer}")
        assert code == 3 and "nothing was written" in err
    record = json.loads((home / "set" / "record.json").read_text())
    assert record["rejected"] == made["rejected"] and str(home) not in json.dumps(record)
    file = home / "home" / "live" / "2024-01-01--2024-02-03.jsonl"
    assert Path(window["file"]) == file and file.is_file()
    assert EvaluateParams(suite="live").settings()["live"]["items"] == str(file.parent)


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ("build raw.jsonl --out set", "--until DATE and --out DIR"),
        ("bench raw.jsonl", "--from DATE"),
        ("build none.jsonl --until 2023 --out set", "does not exist"),
        ("build raw.jsonl --until soon --out set", "'soon' is not a date"),
        ("build raw.jsonl --until 2023 --out .", "holds the source"),
        ("bench raw.jsonl --from 2024 --until 2023", "swap them"),
        ("build raw.jsonl --until 2023 --out set --temperature 0", "above 0"),
        ("build raw.jsonl --until 2023 --out set --designer-model a,a", "not one name"),
    ],
)
def test_wrong_use_is_refused_before_anybody_is_asked(
    home: Path, capsys: pytest.CaptureFixture[str], words: str, part: str
) -> None:
    write_forum(home / "raw.jsonl")
    code, _, err = run(capsys, f"instruct {words}")
    assert code == 2 and part in err


def test_questions_in_files_are_answered_in_any_order(tmp_path: Path) -> None:
    box = Mailbox(tmp_path / "box", "instruct")
    asks = [
        Ask(f"classify.{n}", ChatRequest((Message("user", f"Post {n}"),), 16, 0.0, n))
        for n in range(5)
    ]
    got: dict[str, str] = {}

    def keep(ask: Ask, answer: Answer) -> None:
        got[ask.step_id] = answer.text

    asking = threading.Thread(target=ask_in_files, args=(box, asks, keep, 0.01), daemon=True)
    asking.start()
    other = Mailbox(box.folder, "instruct")
    while len(names := other.open_ids()) < 5:
        continue
    for name in reversed(names):
        other.answer(name, f"to {name.partition('-')[0]}")
    asking.join(60)
    assert got == {ask.step_id: f"to {ask.step_id}" for ask in asks}
    assert other.open_ids() == []


def test_answers_are_those_of_one_folder_one_endpoint_and_one_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def who(kind: str, folder: str | None = None) -> str:
        spec = SimpleNamespace(model=None, base_url=None)
        box = None if folder is None else SimpleNamespace(folder=folder)
        session: Any = SimpleNamespace(kind=kind, spec=spec, mailbox=box)
        return instructing._who(session)

    def who_serves(content: bytes) -> str:
        model.write_bytes(content)
        spec = DesignerSpec(kind="local", model=str(model))
        return instructing._who(DesignerSession(spec, State.open(tmp_path / "state")))

    model = tmp_path / "m.gguf"
    assert who_serves(b"one") != who_serves(b"another")

    assert who("files", "alice") != who("files", "bob")
    before = {kind: who(kind) for kind in ("local", "openai")}
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    assert who("local") == before["local"] and who("openai") != before["openai"]
