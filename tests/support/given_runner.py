"""Programs without a container: run in the test's own process, for programs a test trusts."""

import sys
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from autoprune.candidate import Candidate
from autoprune.program_files import handed_constants
from autoprune.programs import BlockTask, LayerBudget, LayerTask, require_same
from sandbox.probe_programs import TINY, tiny_tensors
from sandbox.worker import toolbox
from sandbox.worker.block import Block


class GivenRunner:
    """Runs programs that a test trusts; remembers what they were handed."""

    def __init__(self) -> None:
        self.tasks: list[LayerTask] = []
        self.blocks: list[BlockTask] = []

    def require(self, program: Candidate) -> None:
        """Whatever a test hands in is tried on the model at once."""

    def done(self) -> None:
        """Nothing was kept."""

    def close(self) -> None:
        """Nothing was opened."""

    def run(self, program: Candidate, tasks: Sequence[LayerTask]) -> list[Tensor]:
        self.tasks.extend(tasks)
        params = handed_constants(program.source, program.params)
        return [run_here(program.source, task, params) for task in tasks]

    def run_blocks(self, program: Candidate, tasks: Sequence[BlockTask]) -> list[dict[str, Tensor]]:
        self.blocks.extend(tasks)
        params = handed_constants(program.source, program.params)
        return [run_block_here(program.source, task, params) for task in tasks]


def run_block_here(
    source: str, task: BlockTask, params: dict[str, float] | None = None
) -> dict[str, Tensor]:
    """New matrices of a block by a trusted source, in this process."""
    block = Block(task.form, task.weights, task.rest, task.stats)
    block.position = task.position
    budget = {
        name: _budget(own, (len(task.weights[name]), task.weights[name].shape[1]))
        for name, own in task.budgets.items()
    }
    with torch.no_grad():
        require_same(task, Block, "block")
        arguments = block, task.inputs, task.targets, budget, params or {}
        made: dict[str, Tensor] = _namespace(source)["prune_block"](*arguments)
    return made


def run_here(source: str, task: LayerTask, params: dict[str, float] | None = None) -> Tensor:
    """New weights by a trusted source, in this process."""
    budget = _budget(task.budget, (task.weight.shape[0], task.weight.shape[1]))
    stats = {**task.stats, "position": dict(task.position)}
    with torch.no_grad():
        made: Tensor = _namespace(source)["prune_layer"](
            task.weight.clone(), stats, budget, params or {}
        )
    return made


def _namespace(source: str) -> dict[str, Any]:
    sys.modules["toolbox"] = toolbox
    namespace: dict[str, Any] = {}
    exec(source, namespace)
    return namespace


def _budget(owed: LayerBudget, shape: tuple[int, int]) -> dict[str, Any]:
    budget = owed.to_json()
    if budget["group"] == "row":
        budget["rows"] = owed.quotas(shape)
    return budget


def tiny_tasks() -> list[LayerTask]:
    """The layers on which every program is tried first."""
    tasks = []
    for index, (_, budget, _) in enumerate(TINY):
        stats = {name: torch.from_numpy(value) for name, value in tiny_tensors(index).items()}
        position = {"block": 0, "depth": 0.0, "kind": "q_proj"}
        tasks.append(LayerTask(stats.pop("W"), stats, LayerBudget.from_json(budget), position))
    return tasks
