"""A folder with everything a reader needs to reproduce a comparison's numbers.

``record.json`` holds the request, the protocol (splits, digests, type, machine, versions, commit,
command, date) and the place of each cell. ``cells/`` holds each cell as measured: loss per window,
zeros, seconds, its own date, commit and machine. Tables are made from these files alone, without
the model or the text.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoprune.comparison.cells import read_cell
from autoprune.errors import DamagedFileError, UsageError
from autoprune.storage import write_json

if TYPE_CHECKING:
    from autoprune.comparison.bench import ComparisonBench

FILE = "record.json"
FORMAT = "autoprune comparison"
VERSION = 1
# Fields that must be equal for two runs to be parts of one comparison.
SAME = (
    "model_digest",
    "tokenizer",
    "beginning_token",
    "windows_version",
    "dtype",
    "device",
    "corpus",
    "splits_digest",
    "selection_digest",
    "sealed_digest",
    "seqlen",
    "calibration_windows",
    "precision",
    "computed_by",
)
# Fields that may differ between runs without affecting any figure.
_PASSING = ("date", "seconds", "sealed_touches", "sealed_set", "machine", "commit", "versions")


def body_of(bench: "ComparisonBench", outline: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the tables are made of; a comparison with a record writes it first."""
    looks = bench.looks.count(bench.splits)
    whole = {**outline, "protocol": outline["protocol"] | {"sealed_touches": looks}}
    if bench.record is not None:
        # Read back, so that anyone who has the record can make the same tables.
        write_record(bench.record, _with_places(bench, whole))
        return read_record(bench.record)
    return whole | {
        "dense": bench.records[whole["dense"]],
        "cells": [cell | {"record": bench.records[cell["id"]]} for cell in whole["cells"]],
    }


def write_record(folder: Path, outline: Mapping[str, Any]) -> None:
    """Write the record of a comparison atomically, unless the same is recorded already."""
    new = {"format": FORMAT, "version": VERSION, **outline}
    path = folder / FILE
    if path.exists() and _lasting(_read(path)) == _lasting(json.loads(json.dumps(new))):
        return
    write_json(path, new)


def require_same(folder: Path, protocol: Mapping[str, Any]) -> None:
    """Refuse a folder that holds the record of another comparison."""
    path = folder / FILE
    if not path.exists():
        return
    known = _read(path)["protocol"]
    plain = json.loads(json.dumps({name: protocol.get(name) for name in SAME}))
    different = [
        f"{name} is {known.get(name)!r} there and {plain[name]!r} here"
        for name in SAME
        if known.get(name) != plain[name]
    ]
    if different:
        raise UsageError(
            f"{folder} holds the record of another comparison: {'; '.join(different)}; name "
            "another folder with --record"
        )


def read_record(folder: Path) -> dict[str, Any]:
    """Read the input of :func:`autoprune.comparison.result.gather` from a folder."""
    require_record(folder)
    found = _read(folder / FILE)
    return found | {
        "dense": _record(folder, found["dense"]),
        "cells": [
            {key: value for key, value in cell.items() if key not in ("kept", "failed")}
            | {"record": _record(folder, cell)}
            for cell in found["cells"]
        ],
    }


def require_record(folder: Path) -> None:
    """Check that a folder holds a record, without reading it."""
    if not (folder / FILE).exists():
        raise UsageError(
            f"{folder} holds no {FILE}; name a folder that `autoprune compare --record` wrote"
        )


def _with_places(bench: "ComparisonBench", outline: dict[str, Any]) -> dict[str, Any]:
    """The outline of a comparison with the place of each cell instead of its record."""

    def place(identity: str) -> dict[str, Any]:
        record = bench.records[identity]
        if identity not in bench.kept:
            return {"failed": record}
        failed = {n: s for n, s in record.get("suites", {}).items() if "reason" in s}
        return {"kept": bench.kept[identity] | failed}

    return outline | {
        "dense": place(outline["dense"]),
        **{part: [c | place(c["id"]) for c in outline[part]] for part in ("cells", "trials")},
    }


def _record(folder: Path, cell: Mapping[str, Any]) -> dict[str, Any]:
    if "failed" in cell:
        return dict(cell["failed"])
    made = {name: _cell(folder, kept) for name, kept in cell["kept"].items()}
    own = made.pop("")
    return own | {"suites": made} if made else own


def _cell(folder: Path, kept: str | Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(kept, str):
        return dict(kept)
    found = read_cell(folder, kept)
    if found is None:
        raise DamagedFileError(
            f"{folder} lacks the cell {kept[:16]}… that {FILE} names; copy the whole folder, or "
            "run the command that the record names, which measures what is missing"
        )
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DamagedFileError(
            f"{path} is damaged ({error}); delete it and run the command again"
        ) from error
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise DamagedFileError(f"{path} is not a record of a comparison; name another folder")
    if found.get("version") != VERSION:
        raise UsageError(
            f"{path} has version {found.get('version')}, this program reads {VERSION}; use the "
            "program of the commit that the record names"
        )
    return found


def _lasting(record: Mapping[str, Any]) -> dict[str, Any]:
    protocol = {k: v for k, v in record["protocol"].items() if k not in _PASSING}
    return {**record, "protocol": protocol}
