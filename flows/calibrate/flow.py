"""The calibration flow: the dense model's statistics, kept in the store for later runs."""

from typing import Any

from prefect import flow

from autoprune.statistics.statistics import AHEAD
from flows.calibrate.params import CalibrateParams
from flows.calibrate.text import calibration_text
from flows.naming import run_name
from flows.terminal import console
from tasks.calibrate import calibration_markdown, collect_statistics, cut_windows, load_model
from tasks.publish import Publisher
from tasks.state import State, model_slug
from tasks.switches import computing_on
from tasks.workbench import Workbench, opened

NAME = run_name("calibrate", CalibrateParams, lambda params: model_slug(params.model))


@flow(name="calibrate", flow_run_name=NAME, persist_result=False)
def calibrate(params: CalibrateParams = CalibrateParams()) -> dict[str, Any]:  # noqa: B008 (frozen)
    """Collect statistics of a model on a text; the same settings find them again."""
    bench = Workbench(params.model, State.open(), params.seed, console.report, dtype=params.dtype)
    needs = sorted(AHEAD[params.curvature])
    with computing_on(params.device), opened(bench):
        source = load_model(bench, params.model)
        text = cut_windows(bench, params.corpus, params.calibration_windows, params.seqlen)
        found = collect_statistics(bench, needs)
    facts = found | {"statistics": found["needs"], "corpus": params.corpus}
    facts |= {"windows": text.windows, "seqlen": text.seqlen, "notes": list(text.notes)}
    Publisher(params.model, None, "calibrate").calibration(calibration_markdown(facts))
    record = {
        "model": params.model,
        "model_digest": source.digest,
        "corpus": params.corpus,
        "corpus_digest": text.digest,
        "seed": params.seed,
        "windows": text.windows,
        "seqlen": params.seqlen,
        "dtype": params.dtype,
        "statistics": found["needs"],
        "statistics_digest": found["digest"],
        "tokens": found["tokens"],
        "notes": list(text.notes),
        "seconds": found["seconds"],
    }
    console.screen().outcome(calibration_text(record, params).splitlines())
    return record
