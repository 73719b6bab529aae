"""What a model writes before and after pruning, and how it is saved."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from autoprune.bench.saving import measured_in, require_savable, rounding_note, saved_type
from autoprune.bench.text import CALIBRATION, SELECTION
from autoprune.evaluation.continuations import side_by_side
from flows.prune.params import PruneParams
from tasks.card import write_folder_card
from tasks.prune import save_checkpoint, saved_record
from tasks.samples import sample_text
from tasks.workbench import Workbench


@contextmanager
def sampled(bench: Workbench, params: PruneParams, record: dict[str, Any]) -> Iterator[None]:
    """Let the model continue a text before and after the body, for the card of what is saved."""
    part = next((name for name in (SELECTION, CALIBRATION) if name in bench.windows), None)
    if params.out is None or part is None:
        yield
        return
    before = sample_text(bench, part)
    yield
    samples = side_by_side(before, sample_text(bench, part))
    record["writes"] = {"part": part, "samples": samples}


def require_savable_for(bench: Workbench, params: PruneParams, gone: float = 0.0) -> None:
    """Refuse what could not be saved whole; see :func:`require_savable`."""
    if params.out is not None:
        kind = saved_type(bench, params.dtype)
        require_savable(bench.loaded, Path(params.out), kind, gone)


def save(bench: Workbench, params: PruneParams, record: dict[str, Any]) -> None:
    """Save the model of an open workbench, if asked to, and put on record what was written."""
    if params.out is not None:
        record["notes"] += filter(None, [rounding_note(bench, params.dtype)])
        kind = saved_type(bench, params.dtype)
        if record.get("perplexity") and (rounded_from := measured_in(bench, kind)):
            record["perplexity"]["measured_in"] = rounded_from
        saved = save_checkpoint(bench, params.out, record, params.dtype)
        record |= saved_record(saved) | {"size": write_folder_card(saved)}
