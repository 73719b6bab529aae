"""Predictions of a dense model on fresh text, kept for the recovery of a smaller one."""

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from autoprune.evaluation.kl import DensePredictions
from autoprune.progress import Progress, Report, silent
from autoprune.pruning.head import Head
from autoprune.pruning.plan import Precision
from autoprune.pruning.products import products_of, products_type
from autoprune.repair import HELD_OUT, ModelRecovery


@dataclass(frozen=True)
class Teacher:
    """Predictions of the dense model for the windows of a recovery.

    Args:
        train: Windows to train on.
        held_out: Windows for evaluation only; None if the text is too short.
        notes: Notes on the windows for the user.
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

    For every token, ``how.top`` predictions of 8 bytes each are kept: 50 steps of two windows of
    512 tokens take 27 MB.
    """
    held, train, notes = _shared_out(how, used[:0] if fresh is None else fresh, used)
    head = Head(dense, train[:1])

    def predict(windows: Tensor) -> DensePredictions:
        found = []
        for window in torch.split(windows, 1):
            with products_of(dense.device, dense.dtype, precision):
                found.append(head.most_likely(window, how.top))
            report(Progress("dense predictions", len(found), len(windows)))
        ids, known = zip(*found, strict=True)
        return DensePredictions(windows, torch.stack(ids), torch.stack(known))

    return Teacher(predict(train), predict(held) if len(held) else None, notes)


def products_in(model: PreTrainedModel, precision: Precision) -> torch.dtype | None:
    """Type that products are rounded to; None if they are not rounded."""
    found = products_type(model.device, model.dtype, precision)
    return None if found == model.dtype else found


def _shared_out(
    how: ModelRecovery, fresh: Tensor, used: Tensor
) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """Windows to evaluate on, windows to train on, and notes."""
    wanted = how.windows
    if len(fresh) >= wanted:
        return fresh[:HELD_OUT], fresh[HELD_OUT:wanted], ()
    windows = torch.cat([fresh, used])[:wanted]
    held = min(HELD_OUT, len(windows) // 4)
    note = (
        f"recovery: {wanted} fresh calibration windows are wanted and there are {len(fresh)}; "
        f"it learned from {len(windows) - held}"
    )
    if len(windows) > len(fresh):
        note += f", {len(windows) - max(len(fresh), held)} of which statistics had read"
    if held > len(fresh):
        note += f"; they had also read {held - len(fresh)} of the {held} windows that judge it"
    return windows[:held], windows[held:], (note,)
