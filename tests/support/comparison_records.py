"""Cells of a comparison whose figures are known to the last digit."""

import math
from typing import Any

PROTOCOL: dict[str, Any] = {
    "model_digest": "ab" * 32,
    "prunable": 1000,
    "corpus": "text",
    "split_seed": 0,
    "splits_digest": "cd" * 32,
    "shared_documents": 0,
    "overlap": [
        {"first": a, "second": b, "words": n, "checked": 9, "shared": 10 - n}
        for a, b in (("calibration", "selection"), ("selection", "sealed"))
        for n in (8, 10)
    ],
    "seqlen": 8,
    "calibration_windows": 4,
    "calibration_pool": 48,
    "selection_windows": 4,
    "sealed_windows": 6,
    "selection_digest": "ef" * 32,
    "sealed_digest": "01" * 32,
    "seeds": 2,
    "draw_digests": ["23" * 32, "45" * 32],
    "sealed_touches": 7,
    "dtype": "float32",
    "device": "cpu",
    "tokenizer": "67" * 32,
    "date": "2026-01-01T00:00:00+00:00",
    "versions": {"autoprune": "0", "torch": "2", "transformers": "5"},
    "commit": "89" * 20,
    "machine": {"processor": "a machine", "threads": 1},
}
BASE = [1.0, 1.2, 0.9, 1.1, 1.3, 0.8]


def record(sealed: list[float], selection: float, seconds: float = 1.0) -> dict[str, Any]:
    def part(nll: list[float]) -> dict[str, Any]:
        mean = math.exp(math.fsum(nll) / len(nll))
        return {"nll": nll, "tokens": 42, "perplexity": mean, "seconds": 0.5}

    return {
        "status": "ok",
        "zeros": 500,
        "prunable": 1000,
        "prune_seconds": seconds,
        "note_count": 1,
        "commit": "89" * 20,
        "sealed": part(sealed),
        "selection": part([selection] * 4),
    }


def cell(method: str, made: dict[str, Any], seed: int = 0, **changes: Any) -> dict[str, Any]:
    target = {"sparsity": 0.5, "pattern": "unstructured"}
    body = {"method": method, "measured_as": method, "target": target, "seed": seed, "trials": 0}
    return body | {"record": made} | changes


def moved(by: float) -> list[float]:
    return [value + by for value in BASE]


def body(*cells: dict[str, Any]) -> dict[str, Any]:
    dense = record(moved(-0.5), 0.5)
    base = {"model": "m", "tune": 2, "protocol": PROTOCOL, "dense": dense, "command": "again m"}
    return base | {"cells": list(cells), "planned": len(cells)}
