"""Task that mirrors a comparison into MLflow: a parent run, and a child per method and budget."""

import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from autoprune.comparison.methods import parse_method
from autoprune.digest import digest_json
from tasks import track
from tasks.compare_bench import CompareBench
from tasks.mirror import log_stage
from tasks.provenance import here_tags
from tasks.recorded import recorded
from tasks.state import model_slug

# Fields of the protocol that identify what the figures depend on, once for all runs of one name.
DIGESTS = (
    "model_digest",
    "tokenizer",
    "splits_digest",
    "selection_digest",
    "sealed_digest",
    "draw_digests",
)
SIZES = (
    "dtype",
    "beginning_token",
    "windows_version",
    "device",
    "blocks",
    "prunable",
    "calibration_windows",
    "calibration_pool",
    "selection_windows",
    "sealed_windows",
    "seeds",
    "split_seed",
    "seqlen",
    "shared_documents",
)


def mirror_comparison(bench: CompareBench, settings: dict[str, Any], status: str) -> dict[str, Any]:
    """Write a comparison's table into MLflow; the same comparison writes the same run again."""
    title = f"mirror comparison of {bench.model_ref}"
    return recorded("mirror comparison", title, mirrored_comparison)(bench, settings, status)


def mirrored_comparison(
    bench: CompareBench, settings: dict[str, Any], status: str
) -> dict[str, Any]:
    """:func:`mirror_comparison` without its own task run."""
    content = partial(_content, bench.table, settings, status)
    return log_stage(
        bench.state, content, bench.asked, patient=status != "RUNNING", tracker=bench.tracker
    )


def _content(record: Mapping[str, Any], settings: dict[str, Any], status: str) -> dict[str, Any]:
    model = record["model"]
    protocol = record["protocol"]
    digests = {name: protocol[name] for name in DIGESTS}
    name = f"{model_slug(model)[:40]}-{digest_json([settings, digests])[:8]}"
    params = {**settings, **{key: protocol[key] for key in SIZES}, **digests}
    parts = [
        track.stages.StageChild(
            f"{row['method']} at {row['target']}",
            f"{row['method']} at {row['target']}",
            _identity(row),
            row_figures(row),
            _row_tags(row, record),
        )
        for row in record["rows"]
    ]
    return {
        "kind": "comparison", "model": model, "name": name, "params": params,
        "metrics": _totals(record), "tags": _tags(record),
        "files": [Path(record["folder"]) / file for file in record["files"]],
        "parts": parts, "status": status,
    }  # fmt: skip


def row_figures(row: Mapping[str, Any]) -> dict[str, float]:
    """Figures of a method at a budget, by their names in MLflow."""
    low, high = row["interval"] or (None, None)
    values = {
        "sealed_perplexity": row["perplexity"],
        "sealed_perplexity_deviation": row["deviation"],
        "selection_perplexity": row["selection"],
        "selection_perplexity_deviation": row["selection_deviation"],
        "change_vs_baseline_share": row["change"],
        "change_vs_baseline_share_low": low,
        "change_vs_baseline_share_high": high,
        "change_vs_baseline_p": row["p"],
        "change_vs_baseline_p_holm": row["p_adjusted"],
        "detectable_vs_baseline_share": row["detectable"],
        "paired_draws_total": row["paired_draws"],
        "seconds_prune": row["prune_seconds"],
        "seconds_evaluate": row["evaluate_seconds"],
        "zeros_total": row["zeros"],
        "sparsity_share": row["zeros"] / row["prunable"] if row["prunable"] else None,
        "draws_total": row["seeds"],
        "trials_total": row["trials"],
        "notes_total": row["notes"],
        "bytes_dense_total": row["dense_bytes"],
        "bytes_compact_total": row["compact_bytes"],
    }
    # Names that MLflow allows.
    values |= {entry["column"].replace(" ", "_"): entry["value"] for entry in row["measures"]}
    return _finite(values)


def _identity(row: Mapping[str, Any]) -> dict[str, Any]:
    parts = parse_method(row["method"]).to_json()
    asked = {"target": row["target"], "sparsity": row["sparsity"], "pattern": row["pattern"]}
    return {"method": row["method"], **parts, **asked}


def _row_tags(row: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, str]:
    best = {entry["target"]: entry["method"] for entry in record["recommendation"]}
    tags = {
        "autoprune.status": row["status"],
        "autoprune.reason": row["reason"] or "",
        "autoprune.measured_as": row["measured_as"] or "",
        "autoprune.baseline": record["baseline"],
        "autoprune.recommended": str(best[row["target"]] == row["method"]).lower(),
    }
    if row["interval"]:
        tags["autoprune.distinguishable"] = str(row["distinguishable"]).lower()
    return tags


def _totals(record: Mapping[str, Any]) -> dict[str, float]:
    dense = record["dense"]
    states = [cell["record"]["status"] for cell in record["cells"]]
    return _finite(
        {
            "dense_perplexity": dense.get("selection", {}).get("perplexity"),
            "dense_sealed_perplexity": record["dense_perplexity"],
            "cells_planned_total": record["planned"],
            "cells_finished_total": record["finished"],
            "cells_unavailable_total": sum(state != "ok" for state in states),
            "sealed_touches_total": record["protocol"]["sealed_touches"],
        }
    )


def _tags(record: Mapping[str, Any]) -> dict[str, str]:
    protocol = record["protocol"]
    tags = here_tags()
    tags |= {
        "model": record["model"],
        "model.digest": protocol["model_digest"],
        "splits.digest": protocol["splits_digest"],
        "selection.digest": protocol["selection_digest"],
        "sealed.digest": protocol["sealed_digest"],
        "seed": str(protocol["split_seed"]),
        "sealed.number": str(protocol["sealed_set"]["number"]),
        "sealed.earlier": str(protocol["sealed_set"]["earlier"]),
        "date": protocol["date"],
        "autoprune.baseline": record["baseline"],
        "mlflow.note.content": "\n\n".join(entry["text"] for entry in record["recommendation"]),
    }
    # The sparsities in a name that MLflow allows.
    tags |= {
        f"recommended.{entry['target'].replace(' %', ' percent')}": entry["method"] or ""
        for entry in record["recommendation"]
    }
    return tags


def _finite(values: Mapping[str, Any]) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in values.items()
        if isinstance(value, int | float) and math.isfinite(value)
    }
