"""A run's designer: what it was seen to enforce, and which refusals end a search."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autoprune.design import local
from autoprune.design.chat import ChatRequest, Message, Reply
from autoprune.design.parsing import AnswerForm, Unreadable, read_answer
from autoprune.design.transports import OpenAIDesigner
from autoprune.errors import PrerequisiteError, UsageError
from autoprune.search.spec import DesignerSpec
from autoprune.search.steps import Failed
from flows.doctor.designer_ready import local_designer
from tasks.design import DesignerSession, propose
from tasks.state import State
from tests.support.chat_server import Answer, completion, obedient, serving

REQUEST = ChatRequest((Message("user", "hello"),), 20, 0.7, 5, grammar='root ::= "a"')


@contextmanager
def endpoint(answer: Any, tmp_path: Path) -> Iterator[DesignerSession]:
    with serving(answer) as chat:
        spec = DesignerSpec(kind="openai", base_url=chat.url, model="m")
        yield DesignerSession(spec, State(tmp_path))


def test_a_refused_request_is_a_verdict_and_the_next_is_asked(tmp_path: Path) -> None:
    def answer(body: dict[str, Any]) -> Answer:
        if body["messages"][-1]["content"] == "hello":
            words = "request (900 tokens) exceeds the available context size"
            return 400, {"error": {"message": words}}, {}
        return obedient(body)

    with endpoint(answer, tmp_path) as session:
        session.check()
        assert [canary.enforcement for canary in session.seen] == ["grammar"]
        found = session.answer(REQUEST)
        assert isinstance(found, Failed)
        assert found.code == "context_too_long" and "900 tokens" in found.detail
        other = ChatRequest((Message("user", "hi"),), 20, 0.7, 5)
        assert isinstance(session.answer(other), Reply)
        with closing(session):
            found = propose(session, "g1.s0.a0", "seed", REQUEST)
    assert isinstance(found, Failed) and found.code == "context_too_long"


def test_each_of_several_models_is_asked_in_the_form_that_it_enforces(tmp_path: Path) -> None:
    def answer(body: dict[str, Any]) -> Answer:
        if body["model"] == "plain":
            return completion("R" if body.get("max_tokens") == 1 else "Red.", "length")
        return obedient(body)

    with serving(answer) as chat:
        spec = DesignerSpec(
            kind="openai", base_url=chat.url, model="strict", also_models=("plain",)
        )
        session = DesignerSession(spec, State(tmp_path))
        assert session.label == "openai: strict, plain"
        session.check()
        assert [canary.model for canary in session.seen] == ["strict", "plain"]
        assert [canary.enforcement for canary in session.seen] == ["grammar", "none"]
        asked = len(chat.bodies)
        for model in (None, "strict", "plain"):
            session.answer(replace(REQUEST, model=model))
        sent = [(body["model"], "grammar" in body) for body in chat.bodies[asked:]]
    assert sent == [("strict", True), ("strict", True), ("plain", False)]


@pytest.mark.parametrize("kind", ["local", "self"])
def test_a_designer_of_this_machine_serves_one_model(tmp_path: Path, kind: str) -> None:
    spec = DesignerSpec(kind=kind, model="a.gguf", also_models=("b.gguf",))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"serves one model, not also b\.gguf"):
        DesignerSession(spec, State(tmp_path)).check()


def test_a_local_model_is_looked_for_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = DesignerSession(DesignerSpec(kind="local", model="nope.gguf"), State(tmp_path))
    with pytest.raises(UsageError, match=r"there is none at nope\.gguf; name one"):
        missing.check()
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "own.gguf").write_bytes(b"GGUF")
    DesignerSession(DesignerSpec(kind="local", model="~/own.gguf"), State(tmp_path)).check()
    monkeypatch.setattr(local.importlib.util, "find_spec", lambda name: None)
    for kind in ("local", "self"):
        session = DesignerSession(DesignerSpec(kind=kind), State(tmp_path))  # type: ignore[arg-type]
        with pytest.raises(PrerequisiteError, match="needs xllamacpp"):
            session.check()


def test_an_endpoint_that_refuses_the_key_stops_the_search(tmp_path: Path) -> None:
    replies: list[Answer] = []
    with endpoint(lambda body: replies.pop() if replies else obedient(body), tmp_path) as session:
        session.check()
        replies.append((401, {"error": {"message": "expired"}}, {}))
        with pytest.raises(PrerequisiteError, match="OPENAI_API_KEY"):
            session.answer(REQUEST)


def test_doctor_shows_what_the_local_designer_enforces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("xllamacpp")
    for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    starts: list[int] = []
    state = State(tmp_path)

    class Served:
        def __init__(self, model: Path, *, name: str, context: int) -> None:
            starts.append(context)
            self.name = name

        def start(self) -> None: ...

        def stop(self) -> None: ...

        def designer(self) -> OpenAIDesigner:
            return OpenAIDesigner(chat.url, self.name, "none")

    monkeypatch.setattr(local, "find_parts", list)
    monkeypatch.setattr(local, "target_file", Path)
    monkeypatch.setattr(local, "join_model", lambda cache: cache / local.MODEL_FILE)
    monkeypatch.setattr(local, "LocalServer", Served)
    with serving(obedient) as chat:
        assert "not asked yet" in local_designer(state, False)
        for ask in (True, True, False):
            assert "answers by our grammar" in local_designer(state, ask)
    assert starts == [4096]
    # A search with long answers has room for them.
    with serving(lambda body: completion("Red.")) as chat:
        spec = DesignerSpec(kind="local", answer_tokens=4000)
        assert DesignerSession(spec, state).designer().name == local.MODEL_NAME
        assert "answers as plain text" in local_designer(state, False)
        own = str(tmp_path / "target.gguf")
        assert DesignerSession(DesignerSpec(kind="self"), state, target=own).designer().name
    assert starts[-2:] == [4000 + 768 + 1024, 4096]
    assert "target: answers as plain text" in local_designer(state, False)


def test_an_answer_of_megabytes_is_rejected_as_too_long(tmp_path: Path) -> None:
    text = "because: it is\nmetric: abs(W)\n" + "ü" * (5 << 20)

    def answer(body: dict[str, Any]) -> Answer:
        if body["messages"][-1]["content"] == "hello":
            return completion(text, prompt_tokens=7, completion_tokens=9)
        return obedient(body)

    with endpoint(answer, tmp_path) as session, closing(session):
        found = propose(session, "g1.s0.a0", "seed", REQUEST)
    assert isinstance(found, Reply) and found.usage.total == 16
    read = read_answer(found, AnswerForm("expression", ["row"], ["uniform"]))
    assert isinstance(read, Unreadable) and read.code == "too_long"
    assert "more than 20000 characters" in read.detail
