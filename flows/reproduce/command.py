"""``autoprune reproduce``: a candidate of a search, pruned again from its MLflow record."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autoprune.plain_text import shell_line
from flows.engine import open_engine
from flows.prune.flow import prune
from flows.reproduce.folder import reproduce_folder
from flows.reproduce.params import ReproduceParams
from flows.terminal.console import open_screen
from flows.terminal.output import emit, pairs
from tasks.reproduce import MasksDifferError, find_candidate, reproduce
from tasks.state import State


def run(args: argparse.Namespace, params: ReproduceParams) -> int:
    """Prune again and print whether the masks, or a folder's files, are the same."""
    state = State.open()
    if params.candidate is None:
        return _folder(args, params, state.root)
    with open_screen(quiet=args.quiet):
        mlflow_run = find_candidate(state, params.run, params.candidate)
        record: dict[str, Any] = {"run": params.run, "candidate": params.candidate}
        try:
            place = None if params.target is None else str(params.target)
            done = reproduce(state, mlflow_run, place, params.overwrite, params.dtype)
            record |= done | {"match": True}
        except MasksDifferError as differ:
            record |= {"mlflow_run": mlflow_run, "match": False, "out": None}
            record |= {"mask_digest": differ.wanted, "found": differ.found}
    emit(args, record, _text(record))
    return 0 if record["match"] else 1


def _folder(args: argparse.Namespace, params: ReproduceParams, root: Path) -> int:
    folder = params.folder
    with open_engine(args) as engine:
        record = reproduce_folder(
            folder, params.corpus, params.target, root, lambda again: engine.call(prune, again)
        )
    same = [name for name, digest in record["files"].items() if record["found"].get(name) == digest]
    rows = [("match" if record["match"] else "mismatch", f"{folder}, by {record['scheme']}")]
    rows.append(("files", f"{len(same)} of {len(record['files'])} weight files are the same"))
    if not record["match"]:
        rows.append(("made by", made_by(record["computed_by"], record["hardware"])))
        rows.append(("next", "use the versions and the processor that made it"))
    elif record["out"] is not None:
        rows.append(("saved", record["out"]))
    emit(args, record, pairs(*rows))
    return 0 if record["match"] else 1


def made_by(known: Mapping[str, Any], hardware: Mapping[str, Any]) -> str:
    """What computed the folder; earlier versions did not note it."""
    words = [
        f"{name} {value}" for name, value in {**known, **hardware}.items() if name != "numerics"
    ]
    return ", ".join(words) or "not on record"


def _text(record: dict[str, Any]) -> str:
    name = f"{record['candidate']} of {record['run']}"
    rows = [("match" if record["match"] else "mismatch", name), ("masks", record["mask_digest"])]
    if "asked" in record:
        share = f"{record['share']:.2%} of the blocks' parameters"
        rows.append(("budget", f"{record['asked']}: {share}"))
    rows.append(("MLflow run", record["mlflow_run"]))
    if not record["match"]:
        rows += [
            ("here", record["found"]),
            ("next", "use the versions and the processor that the MLflow run's tags name"),
        ]
    elif record["out"] is not None:
        follow = shell_line("evaluate", record["out"], "--part", "selection")
        rows += [("saved", record["out"]), ("next", follow)]
    else:
        again = f"autoprune reproduce {record['run']} {record['candidate']} --out DIR"
        rows.append(("next", f"{again} to save the model"))
    return pairs(*rows)
