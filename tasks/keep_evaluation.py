"""Task that keeps an evaluation: record and rows as files, and a run in MLflow."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoprune.digest import digest_json
from autoprune.evaluation.suites.rows import Row
from autoprune.evaluation.suites.table import write_rows
from autoprune.models.record import base_model
from autoprune.storage import write_json
from tasks.evaluation_parts import EvaluationParts
from tasks.mirror import log_stage
from tasks.provenance import here_tags
from tasks.recorded import task_run
from tasks.state import State


@dataclass(frozen=True)
class KeptEvaluation:
    """Where an evaluation is kept.

    Args:
        folder: Its files.
        base: The model whose experiment it is in, in MLflow.
        mlflow_run: MLflow's id of it; None: MLflow has none.
        place: Where to see that, in Markdown.
        error: Why there is none; empty: there is one.
    """

    folder: Path
    base: str
    mlflow_run: str | None
    place: str
    error: str


@task_run("keep", "keep {run}")
def keep_evaluation(
    state: State,
    run: str,
    model: str,
    params: dict[str, Any],
    record: dict[str, Any],
    complete: bool,
) -> KeptEvaluation:
    """Write ``record.json`` and ``rows.parquet``, and mirror them into MLflow."""
    base = base_model(model)
    folder = state.root / "evaluations" / run
    folder.mkdir(parents=True, exist_ok=True)
    write_rows([Row.from_json(row) for row in record["rows"]], folder / "rows.parquet")
    write_json(folder / "record.json", record)
    if complete:
        EvaluationParts(state, run).forget()

    def content() -> dict[str, Any]:
        tags = here_tags() | {"model": model, "model.digest": record["model_digest"]}
        tags["model.base"] = base
        tags |= {f"sealed.{text[:12]}": str(n) for text, n in record["sealed_touches"].items()}
        tags |= {
            f"sealed.{text[:12]}.earlier": str(known["earlier"])
            for text, known in record.get("sealed_sets", {}).items()
        }
        # Part and seed of the splits are settings already.
        digests = {name: split["digest"] for name, split in record["splits"].items()}
        return {
            "kind": "evaluation", "model": base, "name": run,
            "params": params | ({"splits": digests} if digests else {}),
            "metrics": figures(record["rows"]), "tags": tags, "folder": folder,
        }  # fmt: skip

    return KeptEvaluation(folder, base, **log_stage(state, content, run))


def figures(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Figures by ``suite/name/metric``, with the bounds of their intervals."""
    found: dict[str, float] = {}
    for row in rows:
        if row["value"] is None or not math.isfinite(row["value"]):
            continue
        key = f"{row['suite']}/{row['name']}/{row['metric']}"
        if row["protocol"].get("filter"):
            key += f" ({row['protocol']['filter']})"
        found[key] = float(row["value"])
        if row["interval"]:
            found |= {f"{key} {end}": float(v) for end, v in zip(("low", "high"), row["interval"],
                                                                 strict=True)}  # fmt: skip
    return found


def run_name(params: dict[str, Any], model_digest: str, slug: str) -> str:
    """Name of an evaluation: the same settings and weights give the same name."""
    return f"{slug[:40]}-{digest_json([json.loads(json.dumps(params)), model_digest])[:8]}"
