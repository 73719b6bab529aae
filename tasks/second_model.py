"""The task that makes a smaller copy of the dense model, and measures both side by side."""

import copy
from pathlib import Path
from typing import Any

from autoprune.bench.cut_text import SplitText
from autoprune.bench.saving import AUTO, save_bench, saved_type
from autoprune.bench.side_by_side import figures_side_by_side
from autoprune.bench.smaller import Shrinking
from autoprune.bench.text import CALIBRATION, SELECTION
from autoprune.models.record import DENSE_COMPARISON, RECORD_FILE, source_record, text_record
from autoprune.storage import read_object
from autoprune.text.seen_text import is_finished
from tasks.card import write_folder_card
from tasks.recorded import task_run
from tasks.workbench import Workbench


@task_run("second model", "remove {share} of {model} by {scheme}, keeping the dense one")
def make_second_model(
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
        continuations of a text under
        :data:`autoprune.models.record.DENSE_COMPARISON`.
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
    both = {"dense": dense, "smaller": smaller}
    measured = bench.windows[SELECTION]
    figures = figures_side_by_side(bench, both, measured, kind)
    record[DENSE_COMPARISON] = figures | {"windows": len(measured)}
    bench.loaded.model = smaller
    try:
        save_bench(bench, folder, record, dtype=kind)
    finally:
        bench.loaded.model = dense
    write_folder_card(out, model, {})
    return read_object(folder / RECORD_FILE)
