"""Settings of a comparison that takes seconds."""

from typing import Any

SMALL: dict[str, Any] = {
    "samples": 4,
    "seqlen": 32,
    "selection_windows": 3,
    "windows": 4,
    "sparsity": [0.5],
    "seeds": 2,
}
