"""Parameters of the calibration flow."""

from typing import ClassVar

from flows.params.base import Params, setting
from flows.params.fields import (
    DEMO_CORPUS,
    DEMO_MODEL,
    TEXT,
    CalibrationWindows,
    Device,
    Dtype,
    ModelRef,
    Seed,
    Seqlen,
)
from flows.params.named import check_corpora, check_device, check_models


class CalibrateParams(Params):
    """Collect the dense model's statistics into the store, so that later runs find them."""

    RENAMED: ClassVar[dict[str, str]] = {"samples": "calibration_windows"}

    model: ModelRef = setting(DEMO_MODEL, metavar="MODEL", positional=True)
    corpus: str = setting(DEMO_CORPUS, f"Text: {TEXT}", metavar="REF")
    calibration_windows: CalibrationWindows = setting(16)
    seqlen: Seqlen = setting(512)
    curvature: bool = setting(
        False,
        "Also collect the inverse Hessian's diagonal, which SparseGPT's metric needs; slower",
    )
    dtype: Dtype = setting("float32")
    device: Device = setting(metavar="NAME")
    seed: Seed = setting(0)

    def check(self) -> None:
        """See :meth:`Params.check`."""
        check_corpora(self.corpus)
        check_models(self.model)
        check_device(self.device)
