"""What a dense model predicts for fresh text, kept for the recovery of a smaller one."""

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from autoprune.evaluation.kl import DensePredictions, dense_predictions
from autoprune.progress import Report, silent
from autoprune.pruning.masters import products_type
from autoprune.pruning.plan import Precision
from autoprune.repair import HELD_OUT, ModelRecovery


@dataclass(frozen=True)
class Teacher:
    """What the dense model predicts for the windows of a recovery.

    Args:
        train: Windows to learn from.
        held_out: Windows that only judge; None where the text is too short for any.
        notes: What a person should know of the windows.
    """

    train: DensePredictions
    held_out: DensePredictions | None
    notes: tuple[str, ...] = ()


def teach(
    dense: PreTrainedModel,
    how: ModelRecovery,
    fresh: Tensor | None,
    used: Tensor,
    *,
    precision: Precision = "auto",
    report: Report = silent,
) -> Teacher:
    """Run the dense model once on every window of a recovery.

    Of every token ``how.top`` predictions are kept, 8 bytes each: 50 steps of two windows of 512
    tokens take 27 MB.

    Args:
        dense: The dense model, in eval mode.
        how: Steps, windows of a step, predictions to keep.
        fresh: Token ids that nothing has seen yet, int64 [n, s]; None or fewer than
            ``how.windows`` where the text has no more.
        used: Windows that statistics and block tuning read, [m, s]; they fill up what is missing.
        precision: ``float32`` never rounds products.
        report: Called after every batch.
    """
    held, train, notes = _shared_out(how, used[:0] if fresh is None else fresh, used)
    products = products_in(dense, precision)

    def predict(windows: Tensor) -> DensePredictions:
        return dense_predictions(
            dense, windows, top=how.top, report=report, batch=1, autocast=products
        )

    return Teacher(predict(train), predict(held) if len(held) else None, notes)


def products_in(model: PreTrainedModel, precision: Precision) -> torch.dtype | None:
    """What products are rounded to, None where they are not."""
    found = products_type(model.device, model.dtype, precision)
    return None if found == model.dtype else found


def _shared_out(
    how: ModelRecovery, fresh: Tensor, used: Tensor
) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """Windows that judge, windows to learn from, and notes."""
    wanted = how.windows
    if len(fresh) >= wanted:
        return fresh[:HELD_OUT], fresh[HELD_OUT:wanted], ()
    windows = torch.cat([fresh, used])[:wanted]
    held = min(HELD_OUT, len(windows) // 4)
    note = (
        f"recovery: {wanted} fresh calibration windows are wanted and the text has {len(fresh)}; "
        f"it learned from {len(windows) - held}"
    )
    if len(windows) > len(fresh):
        note += f", {len(windows) - len(fresh)} of which statistics had read"
    return windows[:held], windows[held:], (note,)
