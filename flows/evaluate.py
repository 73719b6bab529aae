"""The evaluation flow: one model, any suites, alone or against another model."""

import uuid
from typing import Any

from prefect import flow

from flows import console
from flows.evaluate_params import EvaluateParams, listed
from flows.naming import run_name as flow_run_name
from tasks.calibrate import load_model
from tasks.evaluate import check_suites, compare, count_sealed, measure_suite, read_record
from tasks.keep_evaluation import keep_evaluation, run_name
from tasks.state import State, model_slug
from tasks.workbench import Workbench, opened

RECORD_SUFFIX = ".json"

NAME = flow_run_name("evaluate", EvaluateParams, lambda params: model_slug(params.model))


@flow(name="evaluate", flow_run_name=NAME, persist_result=False)
def evaluate(params: EvaluateParams = EvaluateParams()) -> dict[str, Any]:  # noqa: B008 (frozen)
    """Measure a model by suites; every figure carries its protocol."""
    other = params.against
    from_file = other is not None and other.endswith(RECORD_SUFFIX)
    dense = None if from_file else other
    suites = check_suites(params.suite, params.settings(), dense)
    others: list[dict[str, Any]] = []
    if other is not None:
        others = read_record(other) if from_file else _measured(params, other, suites, None)["rows"]
    found = _measured(params, params.model, suites, dense)
    root = str(State.open().root)
    settings = params.to_json()
    run = run_name(settings, found["model_digest"], model_slug(params.model))
    record = {
        "run": run,
        "model": params.model,
        "model_digest": found["model_digest"],
        "suites": suites,
        "against": other,
        "rows": found["rows"],
        "comparison": compare(found["rows"], others, other) if other is not None else [],
        "sealed_touches": count_sealed(root, run, found["rows"]),
        "notes": found["notes"],
        **_headline(found["rows"], params),
    }
    kept = keep_evaluation(root, run, params.model, settings, record)
    if kept["error"]:
        console.screen().event(f"MLflow has no record of this run: {kept['error']}")
    return record | {"folder": kept["folder"], "mlflow_run": kept["mlflow_run"]}


def _measured(
    params: EvaluateParams, model: str, suites: list[dict[str, Any]], dense: str | None
) -> dict[str, Any]:
    """Rows of one model; it is gone from memory again afterwards."""
    bench_id = f"evaluate-{uuid.uuid4().hex[:12]}"
    bench = Workbench(
        bench_id, model, State.open(), params.seed, console.report, dtype=params.dtype
    )
    # Both models of a comparison leave out what either of them has seen, or they would not pair.
    models = [name for name in (params.model, params.against) if name is not None]
    rows: list[dict[str, Any]] = []
    with opened(bench):
        loaded = load_model(bench_id, model)
        for suite in suites:
            settings = dict(suite["settings"])
            if "dense" in settings and settings["dense"] == params.against:
                settings["dense"] = dense
            rows += measure_suite(
                bench_id, suite["name"], model, settings, models, listed(params.references),
                params.overlap,
            )["rows"]  # fmt: skip
    return {"rows": rows, "model_digest": loaded["digest"], "notes": _notes(rows, model)}


def _notes(rows: list[dict[str, Any]], model: str) -> list[str]:
    """What a reader must know before trusting the figures."""
    notes = []
    for row in rows:
        found = row["details"].get("overlap", {})
        if found.get("contaminated") and row["metric"] != "bits_per_byte":
            done = "left out" if found["dropped"] else "measured on all the same"
            notes.append(
                f"{row['suite']} {row['name']}: {found['contaminated']} of {found['checked']} "
                f"parts are text that {model} was calibrated on: {done}"
            )
        if row["details"].get("starts_with_beginning_token") is False:
            notes.append(
                f"{row['suite']} {row['name']}: no beginning token stands before the text; "
                "compare only with figures measured the same way"
            )
    return list(dict.fromkeys(notes))


def _headline(rows: list[dict[str, Any]], params: EvaluateParams) -> dict[str, Any]:
    """The first text's perplexity by itself, where scripts have always found it."""
    row = next((r for r in rows if r["suite"] == "lm" and r["metric"] == "perplexity"), None)
    if row is None:
        return {}
    return {
        "corpus": row["name"],
        "corpus_digest": row["protocol"].get("corpus"),
        "windows": row["protocol"].get("windows"),
        "seqlen": params.seqlen,
        "perplexity": row["value"] if row["status"] != "not_finite" else float("inf"),
        "tokens": row["details"].get("tokens"),
        "seconds": row["details"].get("seconds"),
    }
