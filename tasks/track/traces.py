"""Questions to the designer as MLflow traces, one per call, linked to the candidate's run.

They are written from the search's own log, after the fact: no client is patched, and a store that
is down costs nothing and is filled in later. The trace's id derives from run and step, so no call
appears twice. Headers and keys are not in that log; anything that looks like one is redacted.
"""

import json
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

from mlflow.entities import Span, TraceInfo, TraceLocation
from mlflow.entities.trace_state import TraceState
from mlflow.exceptions import MlflowException
from mlflow.tracing.client import TracingClient
from mlflow.tracing.constant import SpanAttributeKey, TraceMetadataKey, TraceTagKey

from autoprune.digest import digest_json
from tasks.track.runs import RUN_TAG, Tracker

CANDIDATE_TAG = "autoprune.candidate"
STEP_TAG = "autoprune.step"
# A prompt's beginning and end are kept: the context and the actual request.
HEAD, TAIL = 6000, 3000
PREVIEW = 300
SECRET_NAME = re.compile(r"(API_?KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL)S?$", re.IGNORECASE)
SECRET_SHAPE = re.compile(
    r"\b(sk|pk|hf|ghp|gho|xox[abp]|glpat|AKIA)[-_]?[A-Za-z0-9_-]{16,}"
    r"|(?i:bearer)\s+[A-Za-z0-9._~+/-]{16,}=*"
)
SHORTEST_SECRET = 8
HIDDEN = "[hidden]"


class Traces:
    """Traces of one store.

    Args:
        tracker: The store.
    """

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker
        self._written: set[str] = set()

    def write(
        self,
        parent_id: str,
        run: str,
        calls: Iterable[Mapping[str, Any]],
        children: Mapping[str, str],
    ) -> int:
        """Write the calls that are missing."""
        waiting = [(trace_id(parent_id, call["step"]), call) for call in calls]
        waiting = [(name, call) for name, call in waiting if name not in self._written]
        if not waiting:
            return 0
        client = TracingClient(self._tracker.tracking_uri)
        experiment = self._tracker.experiment_of(parent_id)
        written = 0
        for name, call in waiting:
            if not _known(client, name):
                client.log_spans(experiment, [_span(name, call)])
                client.start_trace(_info(name, experiment, parent_id, run, call))
                child = children.get(call["candidate"])
                if child is not None:
                    self._tracker.client.link_traces_to_run([name], child)
                written += 1
            self._written.add(name)
        return written


def trace_id(parent_id: str, step: str) -> str:
    """Id of one call's trace: the same MLflow run and step give the same id."""
    return f"tr-{digest_json(['trace', parent_id, step])[:32]}"


def readable(text: str) -> str:
    """Text for a trace: without secrets and, if long, only its beginning and end."""
    clean = SECRET_SHAPE.sub(HIDDEN, text)
    for name, value in os.environ.items():
        if SECRET_NAME.search(name) and len(value) >= SHORTEST_SECRET:
            clean = clean.replace(value, HIDDEN)
    left_out = len(clean) - HEAD - TAIL
    if left_out <= 0:
        return clean
    return f"{clean[:HEAD]}\n[… {left_out} letters left out …]\n{clean[-TAIL:]}"


def _known(client: TracingClient, name: str) -> bool:
    try:
        client.get_trace_info(name)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return False
        raise
    return True


def _messages(call: Mapping[str, Any]) -> dict[str, Any]:
    messages = [{**m, "content": readable(m["content"])} for m in call["messages"]]
    return {"messages": messages, "temperature": call["temperature"]}


def _answer(call: Mapping[str, Any]) -> dict[str, Any]:
    message = {"role": "assistant", "content": readable(call["answer"])}
    return {"choices": [{"message": message, "finish_reason": call["finish_reason"]}]}


def _usage(call: Mapping[str, Any]) -> dict[str, int]:
    asked, answered = call["prompt_tokens"], call["completion_tokens"]
    return {"input_tokens": asked, "output_tokens": answered, "total_tokens": asked + answered}


def _times(call: Mapping[str, Any]) -> tuple[int, int]:
    """Start and end in nanoseconds, from the end and the duration in the log."""
    end = int(call["at"] * 1e9)
    return end - int(call["seconds"] * 1e9), end


def _span(name: str, call: Mapping[str, Any]) -> Span:
    start, end = _times(call)
    otel = name.removeprefix("tr-")
    attributes = {
        SpanAttributeKey.REQUEST_ID: name,
        SpanAttributeKey.SPAN_TYPE: "CHAT_MODEL",
        SpanAttributeKey.INPUTS: _messages(call),
        SpanAttributeKey.OUTPUTS: _answer(call),
        SpanAttributeKey.CHAT_USAGE: _usage(call),
        SpanAttributeKey.MODEL: call["designer"],
    }
    return Span.from_dict(
        {
            "trace_id": f"tr-{otel}",
            "span_id": otel[:16],
            "parent_span_id": "",
            "name": f"ask for {call['candidate'] or call['step']}",
            "start_time_unix_nano": start,
            "end_time_unix_nano": end,
            "attributes": {key: json.dumps(value) for key, value in attributes.items()},
            "status": {
                "code": "ERROR" if call["failed"] else "OK",
                "message": readable(call["failed"]),
            },
            "events": [],
        }
    )


def _info(
    name: str, experiment: str, parent_id: str, run: str, call: Mapping[str, Any]
) -> TraceInfo:
    start, end = _times(call)
    return TraceInfo(
        trace_id=name,
        trace_location=TraceLocation.from_experiment_id(experiment),
        request_time=start // 1_000_000,
        execution_duration=(end - start) // 1_000_000,
        state=TraceState.ERROR if call["failed"] else TraceState.OK,
        request_preview=readable(call["messages"][-1]["content"])[-PREVIEW:],
        response_preview=readable(call["answer"] or call["failed"])[:PREVIEW],
        trace_metadata={
            TraceMetadataKey.SOURCE_RUN: parent_id,
            TraceMetadataKey.TOKEN_USAGE: json.dumps(_usage(call)),
        },
        tags={
            TraceTagKey.TRACE_NAME: f"{call['candidate'] or call['step']} {call['operator']}",
            TraceTagKey.SPANS_LOCATION: "TRACKING_STORE",
            RUN_TAG: run,
            CANDIDATE_TAG: call["candidate"],
            STEP_TAG: call["step"],
            "autoprune.operator": call["operator"],
        },
    )
