"""The task that makes a smaller copy of the dense model, and measures both side by side."""

from pathlib import Path
from typing import Any

from autoprune.bench.cut_text import SplitText
from autoprune.bench.keeping import save_smaller
from autoprune.bench.smaller import Shrinking
from autoprune.models.record import read_record
from autoprune.text.seen_text import is_finished
from tasks.card import write_folder_card
from tasks.recorded import task_run
from tasks.workbench import Workbench


@task_run("second model", "remove {share} of {model} by {scheme}, keeping the dense one")
def make_second_model(
    bench: Workbench, model: str, scheme: str, share: float, text: SplitText, out: str
) -> dict[str, Any]:
    """Save a smaller copy of the bench's model with figures of both, and its card.

    A folder that holds such a model already is read, not made again.
    """
    folder = Path(out)
    if is_finished(folder):
        return read_record(folder)
    saved = save_smaller(bench, Shrinking.parse(scheme), share, text, folder)
    write_folder_card(saved)
    return dict(saved.record)
