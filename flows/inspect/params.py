"""Parameters of an inspection."""

from flows.params.base import Params, setting
from flows.params.fields import (
    DEMO_CORPUS,
    DEMO_MODEL,
    TEXT,
    CalibrationWindows,
    Device,
    Dtype,
    ModelRef,
    Seqlen,
)
from flows.params.named import check_corpora, check_device, check_models


class InspectParams(Params):
    """Show what a model's matrices look like, and what pruning each alone costs."""

    model: ModelRef = setting(DEMO_MODEL, metavar="MODEL", positional=True)
    corpus: str = setting(DEMO_CORPUS, f"Text: {TEXT}", metavar="REF")
    sparsity: float = setting(
        0.6, "Share of zeros in each part pruned alone", metavar="S", gt=0.0, lt=1.0
    )
    layers: str = setting(
        "first,middle,last",
        "Blocks to prune alone, and their matrices one by one: first, middle, last, all, or "
        "numbers from 0, separated by commas; each matrix takes a pass over the selection windows",
        metavar="LIST",
    )
    calibration_windows: CalibrationWindows = setting(16)
    selection_windows: int = setting(
        4, "Selection windows for measuring the loss", metavar="N", ge=1
    )
    seqlen: Seqlen = setting(512)
    dtype: Dtype = setting("float32")
    device: Device = setting(metavar="NAME")
    out: str | None = setting(
        None, "Folder for inspection.json and inspection.png (default: print only)", metavar="DIR"
    )

    def check(self) -> None:
        """See :meth:`Params.check`."""
        check_corpora(self.corpus)
        check_models(self.model)
        check_device(self.device)
