"""``autoprune export-record``: a search's log as plain files."""

import argparse
from pathlib import Path

from flows.terminal.output import emit, pairs

NAME = "export-record"
HELP = "write a search's events, losses per window, questions and answers as plain files"
DESCRIPTION = (
    "Write the record of a search as JSON lines that anyone can read and check: events.jsonl (the "
    "whole log), losses.jsonl (every measurement with its loss per window), questions.jsonl (every "
    "question to the designer and its answer) and record.json (specification, model, text, digests "
    "of the files). The log is only read; the same log gives the same bytes."
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
    from flows.runs import find_run
    from tasks.run_files import RunFiles
    from tasks.state import State

    state = State.open()
    run_id = find_run(state, args.run_name)
    files = RunFiles.of(state, run_id)
    facts = {name: fact for name, fact in files.read_facts().items() if name not in _PLACES}
    folder = Path(args.out).expanduser().absolute()
    record = export_log(files.log, folder, {"run": run_id, "facts": facts})
    rows = [(name, f"{found['lines']} lines") for name, found in record["files"].items()]
    emit(args, record | {"folder": str(folder)}, pairs(*rows, ("folder", str(folder))))
    return 0
