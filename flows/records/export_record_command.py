"""``autoprune export-record``: a search's log as plain files."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autoprune.errors import UsageError
from autoprune.models.record import DENSE_COMPARISON, read_record
from autoprune.search.export import export_log
from flows.search.runs import saved_params
from flows.terminal.output import emit, pairs
from tasks.run_files import RunFiles
from tasks.state import State, without_machine_paths

_BOTH = ("dense", "smaller")
# Facts that are paths on this machine, or name what its MLflow store holds.
_PLACES = ("checkpoint", "mirrored", "mlflow_place", "registered")


def run(args: argparse.Namespace, run_id: str) -> int:
    """Write the files and print what is in them."""
    state = State.open()
    files = RunFiles.of(state, run_id)
    known = files.read_facts()
    # The command on record has no options that the recorded commit did not know yet.
    command = known.get("command") or saved_params(state, run_id).command()
    origin = {"command": command, **_origin(run_id, known)}
    folder = Path(args.out).expanduser().absolute()
    record = export_log(
        files.log,
        folder,
        origin,
        {"run": run_id, "facts": {k: v for k, v in known.items() if k not in _PLACES}},
        lambda text: without_machine_paths(text, state.root),
        _second_model(files.smaller),
    )
    rows = [(name, f"SHA-256 {digest[:12]}…") for name, digest in record["files"].items()]
    emit(args, record | {"folder": str(folder)}, pairs(*rows, ("folder", str(folder))))
    return 0


def _second_model(folder: Path) -> dict[str, Any]:
    """Figures of the model that a demo made after its search; empty without one."""
    if not (known := read_record(folder)):
        return {}
    rates = {name: known[DENSE_COMPARISON][name]["tokens_per_second"] for name in _BOTH}
    found = {name: known[name] for name in ("scheme", "steps", "share_removed", DENSE_COMPARISON)}
    return {"second": {**found, "faster": rates["smaller"] / rates["dense"]}}


def _origin(run_id: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return date, machine, commit and seconds of a search.

    Raises:
        UsageError: If the search has not measured the dense model yet.
    """
    if "created" not in facts:
        raise UsageError(
            f"the search {run_id!r} has measured nothing yet; run `autoprune resume {run_id}` first"
        )
    # An installed program has no commit, nor has a search of an earlier version.
    commit = facts.get("commit") or f"unknown, version {facts['machine']['autoprune']}"
    return {
        "date": facts["created"],
        "machine": facts["machine"],
        "commit": commit,
        "seconds": facts["stages"],
    }
