"""Settings of a comparison that takes seconds."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from flows.compare import compare
from flows.compare.params import CompareParams

# As the fixture gives it: for the tiny model and its text, where a test names no others.
Compared = Callable[..., dict[str, Any]]
SMALL: dict[str, Any] = {
    "calibration_windows": 4,
    "seqlen": 32,
    "selection_windows": 3,
    "sealed_windows": 4,
    "sparsity": [0.5],
    "draws": 2,
}
# The same sizes as a command.
LINE = (
    "compare MODEL --corpus TEXT --calibration-windows 4 --seqlen 32 --selection-windows 3"
    " --sealed-windows 4 -q"
)


def compared(model: Path, text: Path, /, methods: str = "wanda", **changes: Any) -> dict[str, Any]:
    """What the flow returns for a small comparison."""
    values = SMALL | {"model": str(model), "corpus": str(text), "methods": methods} | changes
    result: dict[str, Any] = compare.fn(CompareParams(**values))
    return result
