"""One transport, one place that retries, and no key in any message."""

import threading
from dataclasses import replace
from typing import Any

import httpx
import openai
import pytest

from autoprune.design import transports
from autoprune.design.canary import Canary, probe_server
from autoprune.design.chat import REFUSALS, ChatRequest, Message, Reply, Usage
from autoprune.design.refusals import RequestRefusedError
from autoprune.design.transports import OpenAIDesigner
from autoprune.errors import AutopruneError, PrerequisiteError
from tests.support.chat_server import Answer, completion, obedient, serving

KEY = "sk-secret-0123456789"
SCHEMA = {"type": "object", "properties": {"metric": {"type": "string"}}}
REQUEST = ChatRequest(
    (Message("user", "hello"),), 20, 0.7, 5, grammar='root ::= "a"', schema=SCHEMA
)
FORMS = ("grammar", "structured_outputs", "response_format")


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def designer(url: str, **options: object) -> OpenAIDesigner:
    pauses: list[float] = []
    made = OpenAIDesigner(url, "m", KEY, sleep=pauses.append, **options)  # type: ignore[arg-type]
    made.pauses = pauses  # type: ignore[attr-defined]
    return made


def test_answer_with_usage_and_grammar() -> None:
    with serving(lambda body: completion("ok", prompt_tokens=7, completion_tokens=2)) as chat:
        reply = designer(chat.url, enforcement="grammar").complete(REQUEST)
        body = chat.bodies[0]
    assert (reply.text, reply.finish_reason, reply.usage) == ("ok", "stop", Usage(7, 2))
    assert body["grammar"] == REQUEST.grammar
    assert (body["seed"], body["max_tokens"], body["temperature"]) == (5, 20, 0.7)


@pytest.mark.parametrize(
    ("enforcement", "sent"),
    [
        ("none", {}),
        ("grammar", {"grammar": 'root ::= "a"'}),
        ("structured_outputs", {"structured_outputs": {"grammar": 'root ::= "a"'}}),
        (
            "json_schema",
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "answer", "strict": True, "schema": SCHEMA},
                }
            },
        ),
    ],
)
def test_form_is_sent_on_the_step_that_the_canary_found(
    enforcement: str, sent: dict[str, object]
) -> None:
    with serving(lambda body: completion("ok")) as chat:
        made = designer(chat.url, enforcement=enforcement)
        free = replace(REQUEST, grammar=None, schema=None)
        replies = [made.complete(request).constraint for request in (REQUEST, free)]
        forms = [{k: v for k, v in body.items() if k in FORMS} for body in chat.bodies]
    assert forms == [sent, {}]
    assert replies == [enforcement if sent else "", ""]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (completion("cut", "length"), Reply("cut", finish_reason="length")),
        (completion(None, "content_filter"), Reply("", finish_reason="error")),
        ((200, {"choices": []}, {}), Reply("", finish_reason="error")),
        ((200, {}, {}), Reply("", finish_reason="error")),
    ],
)
def test_odd_answers_are_replies(answer: Answer, expected: Reply) -> None:
    with serving(lambda body: answer) as chat:
        reply = designer(chat.url).complete(REQUEST)
    assert (reply.text, reply.finish_reason) == (expected.text, expected.finish_reason)


def test_busy_server_is_asked_again_when_it_says() -> None:
    answers = [(429, {}, {"Retry-After": "7"}), (503, {}, {}), completion("late")]
    with serving(lambda body: answers.pop(0)) as chat:
        made = designer(chat.url)
        assert made.complete(REQUEST).text == "late"
        assert len(chat.bodies) == 3
    assert made.pauses == [7.0, 2.0]  # type: ignore[attr-defined]


def test_attempts_and_time_are_limited() -> None:
    with serving(lambda body: (500, {}, {})) as chat:
        with pytest.raises(PrerequisiteError, match="after 3 attempts"):
            designer(chat.url, attempts=3).complete(REQUEST)
        assert len(chat.bodies) == 3
        with pytest.raises(PrerequisiteError, match="after 1 attempts"):
            designer(chat.url, patience=0.5).complete(REQUEST)


def test_a_slow_attempt_ends_with_the_time_of_its_request() -> None:
    given_up = threading.Event()

    def late(body: dict[str, Any]) -> Answer:
        given_up.wait(60)
        return completion("late")

    with serving(late) as chat:
        # Whoever waited for it would have an answer.
        with pytest.raises(PrerequisiteError, match="after 1 attempts"):
            designer(chat.url, patience=0.3).complete(REQUEST)
        given_up.set()


def test_attempts_and_pauses_share_the_time_of_their_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, timeouts = [0.0], []

    def wait(seconds: float) -> None:
        now[0] += seconds

    def call(body: object, timeout: float) -> None:
        timeouts.append(timeout)
        wait(timeout)
        raise openai.APITimeoutError(httpx.Request("POST", "http://server/v1"))

    made = OpenAIDesigner("http://server/v1", "m", KEY, attempts=9, sleep=wait)
    monkeypatch.setattr(transports.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(made, "_call", call)
    with pytest.raises(PrerequisiteError, match="after 3 attempts"):
        made.complete(REQUEST)
    assert timeouts == [120.0, 120.0, 57.0] and now == [300.0]


@pytest.mark.parametrize("asked", ["3600", "301", "inf", "Fri, 31 Dec 2100 23:59:59 GMT"])
def test_who_asks_for_a_pause_too_long_is_not_asked_again(asked: str) -> None:
    with serving(lambda body: (429, {}, {"Retry-After": asked})) as chat:
        made = designer(chat.url)
        with pytest.raises(PrerequisiteError, match=r"left alone for \w+ seconds.* 300 in all"):
            made.complete(REQUEST)
        assert len(chat.bodies) == 1
    assert made.pauses == []  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("asked", "pause"),
    [
        ("60", 60.0),
        ("-5", 0.0),
        ("Fri, 31 Dec 1999 23:59:59 GMT", 0.0),
        ("nan", 1.0),
        ("soon", 1.0),
        ("Fri, 99 Foo 99999999999999999999 99:99:99 +99999999999999", 1.0),
    ],
)
def test_a_pause_that_is_asked_for_is_not_shortened(asked: str, pause: float) -> None:
    answers = [(503, {}, {"Retry-After": asked}), completion("late")]
    with serving(lambda body: answers.pop(0)) as chat:
        made = designer(chat.url)
        assert made.complete(REQUEST).text == "late"
    assert made.pauses == [pause]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("status", "kind", "advice"),
    [
        (401, PrerequisiteError, "OPENAI_API_KEY"),
        (404, AutopruneError, "model's name"),
        (400, AutopruneError, "refuses the request"),
        (500, PrerequisiteError, "OPENAI_BASE_URL"),
    ],
)
def test_errors_say_what_to_do_and_hold_no_key(
    status: int, kind: type[AutopruneError], advice: str
) -> None:
    answer = (status, {"error": {"message": f"bad key {KEY}"}}, {})
    with serving(lambda body: answer) as chat:
        made = designer(chat.url, attempts=1)
        with pytest.raises(kind, match=advice) as caught:
            made.complete(REQUEST)
    assert KEY not in str(caught.value) and KEY not in repr(made)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("before", range(120, 200, 7))
def test_no_part_of_a_key_is_left_where_a_message_is_cut(before: int) -> None:
    answer = (400, {"error": {"message": "x" * before + KEY}}, {})
    with serving(lambda body: answer) as chat, pytest.raises(AutopruneError) as caught:
        designer(chat.url, attempts=1).complete(REQUEST)
    assert KEY[:5] not in str(caught.value)


@pytest.mark.parametrize("body", ["<html>hello</html>", "", "[1, 2]", '"text"'])
def test_what_is_no_protocol_is_an_error_or_an_empty_reply(body: str) -> None:
    with serving(lambda _: (200, body, {})) as chat:
        try:
            assert designer(chat.url).complete(REQUEST).finish_reason == "error"
        except AutopruneError as error:
            assert "/v1" in str(error)


def test_dead_endpoint_is_a_missing_prerequisite() -> None:
    made = designer("http://127.0.0.1:9/v1", attempts=2)
    with pytest.raises(PrerequisiteError, match="does not answer"):
        made.complete(REQUEST)
    assert made.pauses == [1.0]  # type: ignore[attr-defined]


def test_an_empty_address_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    # As compose.yaml sets it where only a key is given.
    monkeypatch.setenv("OPENAI_BASE_URL", "")
    made = OpenAIDesigner(None, api_key="k", model="m")
    assert str(made._client.base_url) == "https://api.openai.com/v1/"


def test_first_listed_model_is_taken() -> None:
    with serving(lambda body: completion("ok")) as chat:
        made = OpenAIDesigner(chat.url)
        made.complete(REQUEST)
        assert (made.name, chat.bodies[0]["model"]) == ("first", "first")


def thinking(body: dict[str, Any]) -> Answer:
    """An endpoint whose models think: other limit, no temperature."""
    for field, code in (
        ("max_tokens", "unsupported_parameter"),
        ("temperature", "unsupported_value"),
    ):
        if field in body:
            words = f"Unsupported: '{field}'. Use 'max_completion_tokens' instead."
            return 400, {"error": {"message": words, "param": field, "code": code}}, {}
    if body["max_completion_tokens"] < 300:
        words = "Could not finish the message because max_tokens or model output limit was reached."
        return 400, {"error": {"message": words, "type": "invalid_request_error"}}, {}
    if "colour" not in str(body.get("response_format", "colour")):
        return completion('{"metric": "abs(W)"}')
    return obedient({k: v for k, v in body.items() if k not in FORMS[:2]})


def test_an_endpoint_of_thinking_models_is_asked_in_its_own_fields() -> None:
    with serving(thinking) as chat:
        made = designer(chat.url)
        seen = probe_server(made, tokens=1000)
        before = len(chat.bodies)
        assert made.complete(replace(REQUEST, max_tokens=900)).constraint == "json_schema"
        body = chat.bodies[-1]
        # Asked once, in the fields that the canary found.
        assert len(chat.bodies) == before + 1
        assert (body["max_completion_tokens"], body["seed"]) == (900, 5)
        assert not body.keys() & {"max_tokens", "temperature"}
        with pytest.raises(RequestRefusedError) as caught:
            made.complete(REQUEST)
    assert caught.value.code == "truncated"
    assert seen.enforcement == "json_schema"
    assert "max_completion_tokens for max_tokens, no temperature" in str(seen)
    assert Canary(**seen.to_json()) == seen


@pytest.mark.parametrize(
    ("status", "error", "code"),
    [
        (400, {"code": "context_length_exceeded", "message": "9000 tokens"}, "context_too_long"),
        (400, {"message": "request exceeds the available context size"}, "context_too_long"),
        (413, {}, "context_too_long"),
        (400, {"code": "content_filter", "message": "no"}, "content_refused"),
        (422, {"message": "unknown field; known: max_tokens, seed"}, "request_refused"),
    ],
)
def test_refusals_of_one_request_have_codes(status: int, error: dict[str, str], code: str) -> None:
    def answer(body: dict[str, Any]) -> Answer:
        return (status, {"error": error}, {}) if "grammar" in body else completion("ok")

    with serving(answer) as chat:
        made = designer(chat.url, enforcement="grammar")
        with pytest.raises(RequestRefusedError) as caught:
            made.complete(REQUEST)
        assert caught.value.code == code and code in REFUSALS
        # The next request is asked as ever.
        assert made.complete(replace(REQUEST, grammar=None)).text == "ok"
        assert chat.bodies[-1]["max_tokens"] == 20


@pytest.mark.parametrize(
    ("ignored", "thorough", "step", "schema"),
    [
        ((), True, "grammar", True),
        ((), False, "grammar", None),
        (("grammar",), False, "structured_outputs", None),
        (FORMS[:2], False, "json_schema", True),
        (FORMS, True, "none", False),
    ],
)
def test_canary_takes_the_strictest_step_that_holds(
    ignored: tuple[str, ...], thorough: bool, step: str, schema: bool | None
) -> None:
    with serving(lambda body: obedient({k: body[k] for k in body.keys() - {*ignored}})) as chat:
        made = designer(chat.url)
        seen = probe_server(made, thorough=thorough)
    assert (seen.enforcement, seen.json_schema, seen.stop_reason) == (step, schema, True)
    assert made.enforcement == step


def test_an_endpoint_that_refuses_everything_is_no_designer() -> None:
    refusal = (400, {"error": {"message": "no such model"}}, {})
    with (
        serving(lambda body: refusal) as chat,
        pytest.raises(RequestRefusedError, match="no such model"),
    ):
        probe_server(designer(chat.url))


def test_canary_believes_nothing() -> None:
    with serving(lambda body: completion("Red.")) as chat:
        seen = probe_server(designer(chat.url, enforcement="grammar"))
    assert (seen.enforcement, seen.json_schema, seen.stop_reason) == ("none", False, False)


def test_canary_takes_a_refusal_for_no() -> None:
    def strict(body: dict[str, object]) -> Answer:
        known = {"model", "messages", "temperature", "max_tokens"}
        return obedient(body) if body.keys() <= known else (400, {"error": "unknown field"}, {})

    with serving(strict) as chat:
        seen = probe_server(designer(chat.url))
    assert (seen.enforcement, seen.json_schema, seen.stop_reason) == ("none", False, True)
