"""``autoprune design render``: the next prompts of a search, without asking anyone."""

import argparse
from pathlib import Path
from typing import Any

from autoprune.design.prompts import Prompts
from autoprune.design.render import estimate_tokens
from autoprune.search.arms import arm_of
from autoprune.search.search import Search
from flows.records.design_params import DesignParams
from flows.search.runs import find_run
from flows.terminal.output import emit
from tasks.run_files import RunFiles
from tasks.state import State


def run(args: argparse.Namespace, params: DesignParams) -> int:
    """Print the prompts with their size in tokens."""
    state = State.open()
    run_id = find_run(state, params.run)
    own = Prompts(Path(params.prompts).expanduser()) if params.prompts else None
    with Search.open(RunFiles.of(state, run_id).folder) as search:
        found = search.preview(params.operator, own)
        digest = (own or search.prompts).digest
    prompts = [
        {
            "operator": preview.operator,
            "tokens": sum(estimate_tokens(m.content) for m in preview.request.messages),
            **preview.request.to_json(),
        }
        for preview in found
    ]
    record = {"run": run_id, "templates": digest, "prompts": prompts}
    emit(args, record, _text(record, grammar=params.grammar))
    return 0


def _text(record: dict[str, Any], *, grammar: bool) -> str:
    lines = [f"run {record['run']}, templates {record['templates'][:12]}"]
    if not record["prompts"]:
        lines.append("nothing would be asked now: no baseline is measured yet, or no LLM designs")
    for prompt in record["prompts"]:
        asked = arm_of(prompt["operator"], prompt.get("model"))
        lines += ["", f"== {asked}, about {prompt['tokens']} tokens =="]
        for message in prompt["messages"]:
            lines += [f"[{message['role']}]", message["content"]]
        if grammar and prompt["grammar"]:
            lines += ["[grammar]", prompt["grammar"].rstrip()]
    return "\n".join(lines)
