"""The scripted designer, which tests and replays ask."""

from autoprune.design.chat import ChatRequest, Message
from autoprune.design.transports import ScriptedDesigner
from tests.support.synthetic import write_answer


def test_scripted_answers_depend_on_the_request_alone() -> None:
    with_counter = ScriptedDesigner(write_answer)
    first = ChatRequest((Message("user", "a"),), 10, 0.5, 1)
    second = ChatRequest((Message("user", "b"),), 10, 0.5, 1)
    answers = [with_counter.complete(r).text for r in (first, second, first)]
    assert answers[0] == answers[2]
