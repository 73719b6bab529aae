"""A raw record of a comparison, small and made up, with its figures."""

import json
import math
from pathlib import Path
from typing import Any

from autoprune.digest import digest_json

# Losses of two windows by draw.
LOSSES: dict[str, dict[str, list[list[float]]]] = {
    "wanda": {"60 %": [[4.2, 4.4], [4.3, 4.5]], "2:4": [[4.6, 4.8], [4.7, 4.7]]},
    "wanda+mrp": {"60 %": [[3.9, 4.1], [4.0, 4.0]], "2:4": [[4.0, 4.2], [4.1, 4.1]]},
}
DENSE = [2.5, 2.7]
ORIGIN = {"command": "autoprune compare", "machine": "two cores", "commit": "abc"}
DECLARED: dict[str, Any] = {
    "labels": {"wanda+mrp": ["Wanda + MRP"]},
    "tables": [
        {"derivation": "perplexity"},
        {"derivation": "deviation"},
        {"derivation": "change", "against": "wanda", "decimals": 1},
    ],
    "figures": [
        {
            "name": "MRP against Wanda at 60 %",
            "derivation": "ratio",
            "of": {"method": "wanda+mrp", "against": "wanda", "budget": "60 %"},
            "value": math.exp(-0.35),
            "text": "0.705",
        },
        {
            "name": "windows of calibration",
            "derivation": "setting",
            "of": {"field": "protocol.share", "scale": 100},
            "value": 12.5,
            "text": "12.5 %",
        },
    ],
}


def made_record(root: Path) -> Path:
    """Write the record ``made`` into this folder of records and return the folder."""
    folder = root / "made"
    cells = []

    def keep(record: dict[str, Any], **key: Any) -> dict[str, Any]:
        digest = digest_json(key)
        kept = {"key": key, "record": record, "sha256": digest_json(record)}
        write(folder / "cells" / digest[:2] / f"{digest}.json", kept)
        return {"kept": {"": digest}}

    for method, budgets in LOSSES.items():
        for budget, draws in budgets.items():
            pattern = "unstructured" if "%" in budget else budget
            target = {"sparsity": 0.6 if "%" in budget else 0.5, "pattern": pattern}
            for seed, nll in enumerate(draws):
                record = {"status": "ok", "sealed": {"nll": nll}, "prune_seconds": 10.0 + seed}
                record["selection"] = {"nll": [value + 0.1 for value in nll]}
                record["bytes"] = {"dense": 9_000_000, "compact": 5_000_000 + 1_000_000 * seed}
                key = {"method": method, "budget": budget, "seed": seed}
                first = int(method != "wanda")
                rows: list[dict[str, Any]] = [
                    {"metric": "right", "name": "all", "items": [first, 0, 1, seed]},
                    {"metric": "size", "name": "all", "items": [], "value": 7.0 + seed},
                    {"metric": "unknown", "name": "all", "items": [], "value": None},
                ]
                suite = keep({"rows": rows}, suite="words", **key)["kept"][""]
                place = keep(record, **key)
                place["kept"] |= {"words": suite, "live": {"reason": "no items"}}
                cells.append({"method": method, "target": target, "seed": seed, **place})
    failed = {"method": "gblm", "target": {"sparsity": 0.6}, "seed": 0, "failed": {"reason": "x"}}
    protocol = {**ORIGIN, "date": "2026-11-27", "share": 0.125}
    body = {"format": "autoprune comparison", "version": 1, "protocol": protocol}
    dense = keep({"status": "ok", "sealed": {"nll": DENSE}}, method=None)
    write(folder / "record.json", {**body, "dense": dense, "cells": [*cells, failed]})
    write(folder / "figures.json", DECLARED)
    return root


def write(path: Path, value: Any) -> None:
    """Write JSON, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")
