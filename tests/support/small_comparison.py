"""Settings of a comparison that takes seconds."""

from typing import Any

SMALL: dict[str, Any] = {
    "calibration_windows": 4,
    "seqlen": 32,
    "selection_windows": 3,
    "sealed_windows": 4,
    "sparsity": [0.5],
    "draws": 2,
}
