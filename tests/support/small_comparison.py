"""Settings of a comparison that takes seconds."""

from pathlib import Path
from typing import Any

SMALL: dict[str, Any] = {
    "calibration_windows": 4,
    "seqlen": 32,
    "selection_windows": 3,
    "sealed_windows": 4,
    "sparsity": [0.5],
    "draws": 2,
}


def compared(model: Path, text: Path, methods: str, **changes: Any) -> dict[str, Any]:
    """What the flow returns for a small comparison."""
    from flows.compare import compare
    from flows.params.compare import CompareParams

    values = SMALL | {"model": str(model), "corpus": str(text), "methods": methods} | changes
    result: dict[str, Any] = compare.fn(CompareParams(**values))
    return result
