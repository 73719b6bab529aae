"""Questions to the designer and its answers, from a search's log."""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from autoprune.report.gathering import askers

if TYPE_CHECKING:
    from autoprune.search.search import Search


def designer_calls(
    search: "Search", designer: str, known: Iterable[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Every question on record, oldest first."""
    ended = {call["step"]: call["at"] for call in known}
    history = search.history()
    names = askers(search, history)
    found = []
    for event in history:
        step, outcome = event["step"], event["outcome"]
        if step["kind"] != "Propose":
            continue
        usage = outcome.get("usage", {})
        failed = outcome["kind"] == "Failed"
        found.append(
            {
                "step": step["step_id"],
                "operator": step["operator"],
                "candidate": names.get(step["step_id"], ""),
                "designer": _asked(designer, step["request"].get("model")),
                "messages": step["request"]["messages"],
                "temperature": step["request"]["temperature"],
                "constraint": outcome.get("constraint", ""),
                "answer": outcome.get("text", ""),
                "failed": f"{outcome['code']}: {outcome['detail']}" if failed else "",
                "finish_reason": outcome.get("finish_reason", "error"),
                "prompt_tokens": usage.get("prompt_tokens", 0),
                "completion_tokens": usage.get("completion_tokens", 0),
                "seconds": outcome["seconds"],
                "at": ended.get(step["step_id"], time.time()),
            }
        )
    return found


def _asked(designer: str, model: str | None) -> str:
    """The designer of one question, where a run's designer has several models."""
    kind, _, names = designer.partition(": ")
    return f"{kind}: {model or names.partition(', ')[0]}" if names else designer


def _model_of(call: Mapping[str, Any]) -> str:
    """Name of the model that was asked, from what :func:`_asked` gave."""
    return str(call.get("designer", "")).partition(": ")[2]


def call_totals(
    calls: Iterable[Mapping[str, Any]],
    price: Sequence[float | None] | None = None,
    prices_of: Mapping[str, Sequence[float]] | None = None,
) -> dict[str, float]:
    """Calls, tokens, seconds, and dollars where prices are set, as metrics of the parent run."""
    asked = list(calls)
    prompt = sum(call["prompt_tokens"] for call in asked)
    answer = sum(call["completion_tokens"] for call in asked)
    totals = {
        "designer_calls": float(len(asked)),
        "designer_failed_calls": float(sum(bool(call["failed"]) for call in asked)),
        "designer_prompt_tokens": float(prompt),
        "designer_answer_tokens": float(answer),
        "designer_tokens_total": float(prompt + answer),
        "designer_seconds": sum(float(call["seconds"]) for call in asked),
    }
    asking, answering = price or (None, None)
    if asking is not None and answering is not None:
        totals["designer_cost_usd"] = (
            sum(
                call["prompt_tokens"] * each[0] + call["completion_tokens"] * each[1]
                for call in asked
                for each in [(prices_of or {}).get(_model_of(call), (asking, answering))]
            )
            / 1e6
        )
    return totals
