"""``autoprune export-record``: a search's log as plain files."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flows.terminal.output import emit, pairs

NAME = "export-record"
HELP = "write a search's record as plain files: losses per window, events, questions, answers"
DESCRIPTION = (
    "Write the record of a search as files that anyone can read and check: record.json (command, "
    "commit, machine, date, digests of the files), losses.json (loss of every sealed window by "
    "recipe), events.jsonl (the whole log), losses.jsonl (every measurement with its loss per "
    "window), questions.jsonl (every question to the designer and its answer) and search.json "
    "(specification, model, text). The log is only read; the same log gives the same bytes."
)
EXAMPLE = "autoprune export-record demo --out evidence/demo"
# Facts that are places of this machine.
_PLACES = ("checkpoint", "mlflow_place", "registered")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument(
        "run_name", metavar="RUN", nargs="?", help="name of the run (default: the latest)"
    )
    parser.add_argument("--out", metavar="DIR", required=True, help="folder to write")


def run(args: argparse.Namespace) -> int:
    """Write the files and print what is in them."""
    from autoprune.search.export import export_log
    from flows.runs import find_run, saved_params
    from tasks.run_files import RunFiles
    from tasks.state import State, without_machine_paths

    state = State.open()
    run_id = find_run(state, args.run_name)
    files = RunFiles.of(state, run_id)
    known = files.read_facts()
    origin = {"command": saved_params(state, run_id).command(), **_origin(run_id, known)}
    folder = Path(args.out).expanduser().absolute()
    record = export_log(
        files.log,
        folder,
        origin,
        {"run": run_id, "facts": {key: known[key] for key in known if key not in _PLACES}},
        lambda text: without_machine_paths(text, state.root),
    )
    rows = [(name, f"SHA-256 {digest[:12]}…") for name, digest in record["files"].items()]
    emit(args, record | {"folder": str(folder)}, pairs(*rows, ("folder", str(folder))))
    return 0


def _origin(run_id: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Date, machine, commit and seconds of a search.

    Raises:
        UsageError: If it has not measured the dense model yet.
    """
    from autoprune.errors import UsageError

    if "created" not in facts:
        raise UsageError(
            f"the search {run_id!r} has measured nothing yet; run `autoprune resume {run_id}` first"
        )
    # A program that is installed has no commit, nor has a search of an earlier version.
    commit = facts.get("commit") or f"unknown, version {facts['machine']['autoprune']}"
    return {
        "date": facts["created"],
        "machine": facts["machine"],
        "commit": commit,
        "seconds": facts["stages"],
    }
