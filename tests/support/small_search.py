"""Sizes of a search of seconds."""

from typing import Any

SIZES: dict[str, Any] = {
    "calibration_windows": 4,
    "seqlen": 48,
    "rung_windows": 2,
    "selection_windows": 4,
    "sealed_windows": 3,
}
