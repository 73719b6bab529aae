"""``autoprune design render``: the next prompts of a search, without asking anyone."""

import argparse
from typing import Any

from flows.terminal.output import emit

NAME = "design"
HELP = "show the next prompts of a search"
DESCRIPTION = (
    "render: fill the prompt templates for what a search would ask next, from its record; nobody "
    "is asked and nothing changes. A folder of your own templates can be tried on any run; a "
    "search takes it with `autoprune search --prompts FOLDER`."
)
EXAMPLE = "autoprune design render demo --operator exploit"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("action", choices=("render",), help="what to do")
    parser.add_argument(
        "run_name", metavar="RUN", nargs="?", help="name of the run (default: the latest)"
    )
    parser.add_argument("--operator", metavar="NAME", help="only this operator, such as exploit")
    parser.add_argument("--prompts", metavar="FOLDER", help="templates that replace ours")
    parser.add_argument("--grammar", action="store_true", help="also show the answer's grammar")


def run(args: argparse.Namespace) -> int:
    """Print the prompts with their size in tokens."""
    from pathlib import Path

    from autoprune.design.prompts import Prompts
    from autoprune.design.render import estimate_tokens
    from autoprune.search.search import Search
    from flows.runs import find_run
    from tasks.run_files import RunFiles
    from tasks.state import State

    state = State.open()
    run_id = find_run(state, args.run_name)
    own = Prompts(Path(args.prompts).expanduser()) if args.prompts else None
    with Search.open(RunFiles.of(state, run_id).folder) as search:
        found = search.preview(args.operator, own)
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
    emit(args, record, _text(record, grammar=args.grammar))
    return 0


def _text(record: dict[str, Any], *, grammar: bool) -> str:
    from autoprune.search.arms import arm_of

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
