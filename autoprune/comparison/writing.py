"""Write a comparison to a folder in all formats."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

from autoprune.comparison.cells import standard
from autoprune.comparison.documents import details, latex, markdown, overview
from autoprune.comparison.formatting import protocol_lines, unavailable
from autoprune.comparison.picture import pareto_png
from autoprune.comparison.result import Comparison, gather
from autoprune.errors import UsageError
from autoprune.storage import atomic_file, write_json, write_text

JSON_FILE = "comparison.json"
FILES = ("comparison.md", "comparison.tex", "comparison.parquet", JSON_FILE, "pareto.png")
# Protocol fields repeated in every row so that tables can be concatenated.
REPEATED = (
    "model_digest",
    "corpus",
    "splits_digest",
    "sealed_digest",
    "selection_digest",
    "seqlen",
    "calibration_windows",
    "selection_windows",
    "sealed_windows",
    "tokenizer",
    "dtype",
    "commit",
    "date",
)


def summary(result: Comparison) -> dict[str, Any]:
    """Return the comparison as JSON, with the lines of its printed tables."""
    return result.to_json() | {
        "overview": overview(result),
        "details": {target: details(result, target) for target in result.targets},
        "missing": unavailable(result),
        "protocol_lines": [list(pair) for pair in protocol_lines(result)],
    }


def require_replaceable(folder: Path, model: str, *, overwrite: bool) -> None:
    """Refuse a folder that holds tables which are not of a comparison of this model."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; name a folder for the tables")
    there = [name for name in FILES if (folder / name).exists()]
    if overwrite or not there:
        return
    try:
        found = json.loads((folder / JSON_FILE).read_text(encoding="utf-8"))["model"]
    except (OSError, ValueError, KeyError, TypeError):
        found = None
    if found != model:
        whose = "no comparison of ours" if found is None else f"a comparison of {found}"
        raise UsageError(
            f"the folder {folder} holds {', '.join(there)} of {whose}; name another folder, or add "
            "--overwrite to replace them"
        )


def write_all(folder: Path, body: Mapping[str, Any]) -> dict[str, Any]:
    """Write table, picture and data."""
    result = gather(body)
    record = summary(result)
    write_text(folder / "comparison.md", markdown(result))
    write_text(folder / "comparison.tex", latex(result))
    write_parquet(folder / "comparison.parquet", result)
    whole = record | {"cells": body["cells"], "dense": body["dense"]}
    write_json(folder / JSON_FILE, standard(whole))
    with atomic_file(folder / "pareto.png") as temporary:
        temporary.write_bytes(pareto_png(result))
    # No file names the folder, so the files of one record are the same in any location.
    return record | {"folder": str(folder), "files": list(FILES)}


def write_parquet(path: Path, result: Comparison) -> None:
    """Write one row per method and budget, with repeated protocol columns."""
    constant = {name: result.protocol[name] for name in REPEATED} | {"model": result.model}
    rows = []
    for row in result.rows:
        values = row.to_json()
        low, high = values.pop("interval") or (None, None)
        # Parquet has no column type for an empty mapping.
        values["failed_suites"] = sorted(f"{k}: {v}" for k, v in values["failed_suites"].items())
        values |= {"interval_low": low, "interval_high": high, "baseline": result.baseline}
        rows.append(values | constant)
    with atomic_file(path) as temporary:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), temporary, compression="zstd")
