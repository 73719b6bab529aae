"""Layer programs without a container: run in the test's own process, for programs a test trusts."""

import sys
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from autoprune.candidate import Candidate
from autoprune.programs import LayerTask
from sandbox.worker import toolbox


class GivenRunner:
    """Runs programs that a test trusts; remembers what they were handed."""

    def __init__(self) -> None:
        self.tasks: list[LayerTask] = []

    def require(self, program: Candidate) -> None:
        """Whatever a test hands in is tried on the model at once."""

    def close(self) -> None:
        """Nothing was opened."""

    def run(self, program: Candidate, tasks: Sequence[LayerTask]) -> list[Tensor]:
        self.tasks.extend(tasks)
        return [run_here(program.source, task, dict(program.params)) for task in tasks]


def run_here(source: str, task: LayerTask, params: dict[str, float] | None = None) -> Tensor:
    """New weights by a trusted source, in this process."""
    sys.modules["toolbox"] = toolbox
    namespace: dict[str, Any] = {}
    exec(source, namespace)
    budget = task.budget.to_json()
    if budget["group"] == "row":
        budget["rows"] = task.budget.quotas((task.weight.shape[0], task.weight.shape[1]))
    stats = {**task.stats, "position": dict(task.position)}
    with torch.no_grad():
        made: Tensor = namespace["prune_layer"](task.weight.clone(), stats, budget, params or {})
    return made
