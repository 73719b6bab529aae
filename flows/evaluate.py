"""The evaluation flow: one model, one text, one figure."""

import uuid
from typing import Any

from prefect import flow

from flows import console
from flows.params import EvaluateParams
from tasks.calibrate import cut_windows, load_model
from tasks.evaluate import evaluate_model
from tasks.state import State
from tasks.workbench import Workbench, opened


@flow(name="evaluate", flow_run_name="evaluate-{params.model}", persist_result=False)
def evaluate(params: EvaluateParams = EvaluateParams()) -> dict[str, Any]:  # noqa: B008 (frozen)
    """Measure the perplexity of a model on consecutive windows of a text."""
    bench_id = f"evaluate-{uuid.uuid4().hex[:12]}"
    bench = Workbench(bench_id, params.model, State.open(), params.seed, console.report)
    with opened(bench):
        model = load_model(bench_id, params.model)
        text = cut_windows(bench_id, "text", params.corpus, params.windows, params.seqlen, True)
        figure = evaluate_model(bench_id, "text")
    return {
        "model": params.model,
        "model_digest": model["digest"],
        "corpus": text["corpus"],
        "corpus_digest": text["digest"],
        "windows": text["windows"],
        "seqlen": params.seqlen,
        "perplexity": figure["perplexity"],
        "tokens": figure["tokens"],
        "seconds": figure["seconds"],
    }
