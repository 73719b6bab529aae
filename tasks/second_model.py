"""The task that makes a smaller copy of the dense model, and measures both side by side."""

import copy
import dataclasses
import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoprune.bench.smaller import Shrinking
from autoprune.evaluation.continuations import continuations
from autoprune.evaluation.perplexity import evaluate_windows
from autoprune.evaluation.suites.latency import Timing, time_once
from autoprune.models.record import source_record, text_record
from autoprune.models.reference import RECORD_FILE
from autoprune.text.seen_text import is_finished
from tasks.allocation import CALIBRATION, SELECTION, SplitText
from tasks.card import write_folder_card
from tasks.prune import AUTO, save_bench, saved_type
from tasks.recorded import step
from tasks.run_files import read_object
from tasks.workbench import Workbench

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Figures of both models are in the record under this name.
BESIDE = "beside_dense"
# Generations per model, alternating, so that other load on the machine affects both.
TURNS = 3
PROMPT, NEW = 64, 16


@step("second model", "remove {share} of {model} by {scheme}, beside the dense one")
def second_model(
    bench: Workbench, model: str, scheme: str, share: float, text: SplitText, out: str
) -> dict[str, Any]:
    """Make a smaller copy of the bench's model, measure both, and save it with the figures.

    A folder that holds such a model already is read, not made again.

    Args:
        bench: An open workbench that holds the dense model.
        model: The model's reference.
        scheme: How it is made smaller, recovery included.
        share: Share of the parameters of the blocks to remove.
        text: Of the bench's windows.
        out: Where it goes.

    Returns:
        The record, with both models' parameters, bytes, perplexity, tokens per second and
        continuations of a text under :data:`BESIDE`.
    """
    folder = Path(out)
    if is_finished(folder):
        return read_object(folder / RECORD_FILE)
    how = Shrinking.parse(scheme)
    dense = bench.loaded.model
    smaller = copy.deepcopy(dense)
    made = how.apply(
        smaller,
        share,
        bench.windows[CALIBRATION],
        fresh=bench.fresh_windows(how.fresh_windows),
        seed=bench.seed,
        report=bench.report,
    )
    windows = bench.windows[CALIBRATION]
    record = {
        **source_record(model, bench.loaded.source.digest, bench.seed),
        **text_record(text.calibration.corpus, text.calibration.digest, *windows.shape),
        **made.to_json(),
        "scheme": how.text,
        "notes": list(made.notes),
        "text_split": text.split,
        "seconds": made.seconds,
    }
    kind = saved_type(bench, AUTO)
    size = (kind or next(dense.parameters()).dtype).itemsize
    both = {"dense": dense, "smaller": smaller}
    figures = {name: _figures(bench, one, size) for name, one in both.items()}
    for name, rates in _rates(both, bench.seed).items():
        figures[name] |= rates
    record[BESIDE] = figures | {"windows": len(bench.windows[SELECTION])}
    bench.loaded.model = smaller
    try:
        save_bench(bench, folder, record, dtype=kind)
    finally:
        bench.loaded.model = dense
    write_folder_card(out, model, {})
    return read_object(folder / RECORD_FILE)


def _figures(bench: Workbench, model: "PreTrainedModel", size: int) -> dict[str, Any]:
    """Figures of one model: parameters, their bytes as saved, perplexity, a continued text."""
    loaded, windows = dataclasses.replace(bench.loaded, model=model), bench.windows[SELECTION]
    prompt, continuation = continuations(loaded, windows)[0]
    return {
        "parameters": model.num_parameters(),
        "bytes": model.num_parameters() * size,
        "perplexity": evaluate_windows(model, windows, report=bench.report).perplexity,
        "prompt": prompt,
        "continues": continuation,
    }


def _rates(models: "dict[str, PreTrainedModel]", seed: int) -> dict[str, dict[str, float]]:
    """Tokens per second of each model: medians over turns.

    ``tokens_per_second`` counts the prompt's time; ``decode``, without it, is left out where no
    generation took longer than its prompt.
    """
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
