"""What is recorded beside a saved winner."""

from typing import Any

RECORD: dict[str, Any] = {
    "candidate": "C1",
    "recipe": {
        "metric": {"kind": "expression", "source": "abs(W) * x_norm", "params": {}},
        "group": "row",
        "allocation": "ramp",
        "solver": "none",
    },
    "pattern": "unstructured",
    "seed": 3,
    "mask_digest": "a" * 64,
    "model_digest": "b" * 64,
    "checkpoint": {"zeros": 600, "prunable": 1000, "total": 1500, "sparsity": 0.6, "files": {}},
}
