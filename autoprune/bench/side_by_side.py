"""Figures of a dense and a smaller model, measured in turns."""

import statistics
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from autoprune.bench.model import ModelBench
from autoprune.evaluation.continuations import continuations
from autoprune.evaluation.perplexity import evaluate_windows
from autoprune.evaluation.suites.latency import Timing, require_room, time_once
from autoprune.models.record import DENSE_COMPARISON
from autoprune.models.saved_type import bytes_as

# Generations per model, alternating, so that other load on the machine affects both.
TURNS = 3
PROMPT, NEW = 64, 16


def beside_dense(
    bench: ModelBench, windows: Tensor, kind: torch.dtype | None
) -> dict[str, dict[str, Any]]:
    """Measure the bench's dense model and the smaller one that stands in its place."""
    models = {"dense": bench.whole_model, "smaller": bench.loaded.model}
    for model in models.values():
        require_room(model, PROMPT, NEW)
    figures = {name: _figures(bench, model, windows, kind) for name, model in models.items()}
    for name, rates in _rates(models, bench.seed).items():
        figures[name] |= rates
    return {DENSE_COMPARISON: {**figures, "windows": len(windows)}}


def _figures(
    bench: ModelBench, model: PreTrainedModel, windows: Tensor, kind: torch.dtype | None
) -> dict[str, Any]:
    prompt, continuation = continuations(replace(bench.loaded, model=model), windows)[0]
    return {
        "parameters": model.num_parameters(),
        "bytes": bytes_as(model.state_dict().values(), kind),
        "perplexity": evaluate_windows(model, windows, report=bench.report).perplexity,
        "prompt": prompt,
        "continues": continuation,
    }


def _rates(models: Mapping[str, PreTrainedModel], seed: int) -> dict[str, dict[str, float]]:
    runs: dict[str, list[tuple[float, float]]] = {name: [] for name in models}
    # The first turn warms up.
    for turn in range(TURNS + 1):
        for name, model in models.items():
            taken = time_once(model, 1, PROMPT, NEW, seed)
            if turn:
                runs[name].append(taken)
    found: dict[str, dict[str, float]] = {}
    for name, turns in runs.items():
        prompts, generations = zip(*turns, strict=True)
        timing = Timing(prompts, generations, 1, NEW)
        rates = {"prefill": timing.prefill(PROMPT), "decode": timing.decode}
        rates["tokens_per_second"] = timing.rates
        found[name] = {key: statistics.median(values) for key, values in rates.items() if values}
    return found
