"""The evaluation flow: one model, any suites, alone or against another model."""

import logging
from typing import Any

from prefect import flow

from autoprune.bench.suites import Hygiene
from autoprune.errors import PrerequisiteError, reason_of
from autoprune.evaluation.suites.against import compare, read_record
from flows.evaluate.card import card_sections
from flows.evaluate.params import EvaluateParams
from flows.evaluate.text import evaluation_text
from flows.naming import run_name as flow_run_name
from flows.params.fields import listed
from flows.terminal import console
from flows.text_split import forget_split, settled
from tasks.calibrate import load_model
from tasks.card import write_figures
from tasks.evaluate import check_requests, check_suites, find_models, measure_suite
from tasks.keep_evaluation import keep_evaluation, run_name
from tasks.recorded import recorded
from tasks.results import show_evaluation
from tasks.state import State, model_slug
from tasks.switches import computing_on
from tasks.text_split import known_looks
from tasks.workbench import Workbench, opened

log = logging.getLogger(__name__)

RECORD_SUFFIX = ".json"

NAME = flow_run_name("evaluate", EvaluateParams, lambda params: model_slug(params.model))


@flow(name="evaluate", flow_run_name=NAME, persist_result=False)
def evaluate(params: EvaluateParams = EvaluateParams()) -> dict[str, Any]:  # noqa: B008 (frozen)
    """Measure a model on suites; every figure carries its protocol."""
    with computing_on(params.device):
        return _evaluated(params)


def _evaluated(params: EvaluateParams) -> dict[str, Any]:
    other = params.against
    from_file = other is not None and other.endswith(RECORD_SUFFIX)
    dense = None if from_file else other
    models = [params.model] if dense is None else [params.model, dense]
    digest = find_models(models)[params.model]
    known = None
    if other is not None and from_file:
        known = recorded("read record", f"read {other}", read_record)(other)
    asked = params
    params = settled(params, params.model, *listed(params.corpus))
    suites = check_suites(params.suite, params.settings(), dense)
    settings = params.recorded()
    # Named before measuring: looks at sealed text are counted under this name.
    run = run_name(settings, digest, model_slug(params.model))
    _warn(params, suites, run)
    rows: list[dict[str, Any]] = []
    found = _measured(params, params.model, run, suites, models, rows)
    compared = {} if other is None else _set_against(params, other, known, run, suites, models)
    others = compared.pop("rows", [])
    record = {
        "run": run,
        "model": params.model,
        "model_digest": digest,
        "suites": suites,
        "against": other,
        "rows": rows,
        "comparison": [] if other is None else _compared(rows, others, other),
        "splits": _splits(rows),
        "sealed_touches": found["looks"],
        "sealed_sets": found["sealed_sets"],
        "notes": _notes(rows, _whose(models, params.references)),
        **_headline(rows),
    }
    record["refusal"] = compared.get("refusal") or _refusal(record["comparison"])
    # Else the same command measures what is missing of the other model, on the same sealed set.
    complete = "refusal" not in compared
    kept = keep_evaluation(State.open(), run, params.model, settings, record, complete)
    if kept.error:
        console.screen().event(f"MLflow has no record of this run: {kept.error}")
    record |= {"folder": str(kept.folder), "mlflow_run": kept.mlflow_run}
    record["card"] = None
    if params.card:
        record["card"] = str(write_figures(params.model, card_sections(record)))
    show_evaluation(State.open(), record, kept.place, kept.base)
    console.screen().outcome(evaluation_text(record).splitlines())
    if complete:
        forget_split(asked)
    return record


def _warn(params: EvaluateParams, suites: list[dict[str, Any]], run: str) -> None:
    """Warn, before measuring, how often the sealed text has been looked at."""
    sealed = [s["settings"] for s in suites if s["settings"].get("part") == "sealed"]
    texts = dict.fromkeys((ref, own["text_split"]) for own in sealed for ref in own["corpora"])
    for ref, number in texts:
        try:
            (known,) = known_looks(State.open(), [ref], number, run, params.model)
        except PrerequisiteError:
            # A text that cannot be loaded becomes a row of the result; the suite says why.
            continue
        if known.warning:
            console.screen().event(known.warning)


def _set_against(
    params: EvaluateParams,
    other: str,
    known: list[dict[str, Any]] | None,
    run: str,
    suites: list[dict[str, Any]],
    models: list[str],
) -> dict[str, Any]:
    """Return rows to compare with, and why some are missing; the model's own figures stand."""
    if known is not None:
        return {"rows": known}
    rows: list[dict[str, Any]] = []
    try:
        _measured(params, other, run, suites, models, rows)
    except Exception as error:
        log.info("the other model could not be measured", exc_info=True)
        return {"rows": rows, "refusal": f"{other} could not be measured: {reason_of(error, 1000)}"}
    return {"rows": rows}


def _measured(
    params: EvaluateParams,
    model: str,
    run: str,
    suites: list[dict[str, Any]],
    models: list[str],
    rows: list[dict[str, Any]],
) -> dict[str, Any]:
    """Measure one model, add its rows to ``rows``, and free its memory afterwards."""
    bench = Workbench(model, State.open(), params.seed, console.report, dtype=params.dtype)
    looks: dict[str, int] = {}
    sets: dict[str, Any] = {}
    if model != params.model:
        suites = [_without_distance(suite, model) for suite in suites]
    # Both models leave out what either of them has seen; otherwise they would not pair.
    hygiene = Hygiene(models, listed(params.references), params.overlap)
    with opened(bench):
        load_model(bench, model)
        # Alone, a suite would refuse only after its look at sealed text is counted.
        check_requests(bench, model, suites, hygiene)
        for suite in suites:
            done = measure_suite(bench, suite["name"], model, run, suite["settings"], hygiene)
            rows += done["rows"]
            looks |= done["looks"]
            sets |= done["sealed_sets"]
    return {"looks": looks, "sealed_sets": sets}


def _compared(
    rows: list[dict[str, Any]], others: list[dict[str, Any]], other: str
) -> list[dict[str, Any]]:
    return recorded("compare", f"compare with {other}", compare)(rows, others)


def _without_distance(suite: dict[str, Any], model: str) -> dict[str, Any]:
    """Return the suite without its distance if the model is the dense one itself."""
    settings = suite["settings"]
    if settings.get("dense") != model:
        return suite
    return {**suite, "settings": {**settings, "dense": None}}


def _splits(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Part, seed and digest of the split by text, where a text was split."""
    return {row["name"]: row["details"]["split"] for row in rows if row["details"].get("split")}


def _refusal(comparison: list[dict[str, Any]]) -> str:
    """Say why figures are not compared; empty if all are."""
    refused = [entry for entry in comparison if entry["refused"]]
    names = ", ".join(dict.fromkeys(f"{entry['suite']} {entry['name']}" for entry in refused))
    return f"{names}: {refused[0]['refused']}" if refused else ""


def _whose(models: list[str], references: str | None) -> str:
    """Whose text is kept from being measured on, as a clause for notes."""
    made = f"{'one of the two models' if len(models) > 1 else models[0]} was calibrated on"
    return f"{made} or a reference holds" if references else made


def _notes(rows: list[dict[str, Any]], whose: str) -> list[str]:
    """Collect what a reader must know before trusting the figures."""
    notes = []
    for row in rows:
        found = row["details"].get("overlap", {})
        if found.get("contaminated") and row["metric"] != "bits_per_byte":
            done = "left out" if found["dropped"] else "measured on all the same"
            notes.append(
                f"{row['suite']} {row['name']}: {found['contaminated']} of {found['checked']} "
                f"parts are text that {whose}: {done}"
            )
        if row["suite"] == "live" and "age_days" in row["details"]:
            known = row["details"]
            notes.append(
                f"live: {known['window']}, whose newest item is of {known['newest_item']}, "
                f"{known['age_days']} days ago"
            )
        if row["details"].get("fewer_windows"):
            notes.append(f"{row['suite']} {row['name']}: {row['details']['fewer_windows']}")
        if row["details"].get("starts_with_beginning_token") is False:
            notes.append(
                f"{row['suite']} {row['name']}: no beginning token stands before the text; "
                "compare only with figures measured the same way"
            )
    return list(dict.fromkeys(notes))


def _headline(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Repeat the first text's perplexity at the top level, where scripts expect it."""
    row = next((r for r in rows if r["suite"] == "lm" and r["metric"] == "perplexity"), None)
    if row is None:
        return {}
    return {
        "corpus": row["name"],
        "corpus_digest": row["protocol"].get("corpus"),
        "windows": row["protocol"].get("windows"),
        "seqlen": row["protocol"].get("seqlen"),
        "perplexity": row["value"] if row["status"] != "not_finite" else float("inf"),
        "tokens": row["details"].get("tokens"),
        "seconds": row["details"].get("seconds"),
    }
