"""The scripted designer, which tests and replays ask."""

from pathlib import Path

import pytest

from autoprune.design.chat import ChatRequest, Message
from autoprune.design.given import read_script
from autoprune.design.transports import ScriptedDesigner
from autoprune.errors import UsageError
from tests.support.synthetic import write_answer


def test_scripted_answers_depend_on_the_request_alone() -> None:
    with_counter = ScriptedDesigner(write_answer)
    first = ChatRequest((Message("user", "a"),), 10, 0.5, 1)
    second = ChatRequest((Message("user", "b"),), 10, 0.5, 1)
    answers = [with_counter.complete(r).text for r in (first, second, first)]
    assert answers[0] == answers[2]


def test_answers_that_are_no_utf8_are_named(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_bytes('"Größe"\n'.encode("latin-1"))
    with pytest.raises(UsageError, match=r"answers\.jsonl is not UTF-8 text"):
        read_script(path)
