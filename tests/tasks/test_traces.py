"""Calls of the designer as MLflow traces: linked, short, without secrets, never twice."""

from typing import Any

import pytest

from autoprune.report.designer_calls import call_totals
from tasks.switches import prices, tracing_wanted
from tasks.track import Tracker
from tasks.track.traces import HEAD, HIDDEN, TAIL, Traces, readable, trace_id


def call(number: int, **changes: Any) -> dict[str, Any]:
    """One answered question."""
    return {
        "step": f"g1.s{number}.a0",
        "operator": "exploit",
        "candidate": f"C{number}",
        "designer": "local: tiny",
        "messages": [
            {"role": "system", "content": "You design."},
            {"role": "user", "content": f"Improve wanda, try {number}."},
        ],
        "temperature": 0.8,
        "answer": "metric: abs(W)",
        "failed": "",
        "finish_reason": "stop",
        "prompt_tokens": 40,
        "completion_tokens": 5,
        "seconds": 2.5,
        "at": 1_790_000_000.0 + number,
        **changes,
    }


def found(tracker: Tracker, parent: str) -> list[Any]:
    experiment = tracker.client.get_run(parent).info.experiment_id
    return list(tracker.client.search_traces(locations=[experiment]))


def test_calls_are_traced_once_and_linked(tracker: Tracker) -> None:
    parent = tracker.parent("tiny", "demo", {}, {}, "a log")
    child = tracker.client.create_run(tracker.experiment_of(parent), run_name="C1").info.run_id
    calls = [call(1), call(2, failed="unreachable: nobody answers", answer="")]
    assert Traces(tracker).write(parent, "demo", calls, {"C1": child}) == 2
    assert Traces(tracker).write(parent, "demo", calls, {"C1": child}) == 0
    traces = {trace.info.tags["autoprune.candidate"]: trace for trace in found(tracker, parent)}
    assert set(traces) == {"C1", "C2"}
    good, bad = traces["C1"], traces["C2"]
    assert good.info.trace_id == trace_id(parent, "g1.s1.a0")
    assert good.info.trace_metadata["mlflow.sourceRun"] == parent
    assert good.info.token_usage == {"input_tokens": 40, "output_tokens": 5, "total_tokens": 45}
    assert good.info.execution_duration == 2500
    (span,) = good.data.spans
    assert span.inputs["messages"][1]["content"] == "Improve wanda, try 1."
    assert span.outputs["choices"][0]["message"]["content"] == "metric: abs(W)"
    assert (good.info.state.value, bad.info.state.value) == ("OK", "ERROR")
    experiment = tracker.experiment_of(parent)
    linked = tracker.client.search_traces(locations=[experiment], run_id=child)
    assert [trace.info.trace_id for trace in linked] == [good.info.trace_id]
    # A later search of the same name, or one of another folder, has traces of its own.
    later = tracker.parent("tiny", "demo", {}, {}, "later log")
    assert Traces(tracker).write(later, "demo", calls, {}) == 2


def test_no_secret_gets_into_a_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "my own secret words")
    text = "key my own secret words, sk-proj-abcdefghijklmnopqrstu and Bearer abcdefghijklmnop1234"
    clean = readable(text)
    assert clean == f"key {HIDDEN}, {HIDDEN} and {HIDDEN}"


def test_no_secret_gets_into_the_reason_of_a_failed_call(tracker: Tracker) -> None:
    parent = tracker.parent("tiny", "demo", {}, {})
    refused = call(1, failed="refused: wrong key sk-proj-abcdefghijklmnopqrstu", answer="")
    Traces(tracker).write(parent, "demo", [refused], {})
    (trace,) = found(tracker, parent)
    (span,) = trace.data.spans
    assert span.status.description == f"refused: wrong key {HIDDEN}"


def test_a_long_text_keeps_both_ends() -> None:
    text = "a" * HEAD + "b" * 50_000 + "c" * TAIL
    clean = readable(text)
    assert clean.startswith("a" * HEAD) and clean.endswith("c" * TAIL)
    assert "50000 letters left out" in clean and len(clean) < HEAD + TAIL + 100


def test_totals_and_prices(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = [call(1), call(2)]
    assert call_totals(calls)["designer_tokens_total"] == 90
    assert "designer_cost_usd" not in call_totals(calls, prices())
    monkeypatch.setenv("AUTOPRUNE_PRICE_PROMPT", "2.5")
    monkeypatch.setenv("AUTOPRUNE_PRICE_ANSWER", "10")
    assert call_totals(calls, prices())["designer_cost_usd"] == pytest.approx(
        80 * 2.5e-6 + 10 * 10e-6
    )


def test_the_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AUTOPRUNE_TRACES", raising=False)
    assert tracing_wanted()
    monkeypatch.setenv("AUTOPRUNE_TRACES", "off")
    assert not tracing_wanted()
