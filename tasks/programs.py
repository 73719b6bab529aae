"""Layer programs in the container: the library's :class:`autoprune.programs.ProgramRunner`."""

import math
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoprune.candidate import Candidate, CandidateRejectedError
from autoprune.errors import NothingPassedError
from autoprune.program_files import PROGRAM_PREFIX

if TYPE_CHECKING:
    from torch import Tensor

    from autoprune.models.structure import PrunableLinear
    from autoprune.programs import LayerTask
    from sandbox.client import Sandbox
    from sandbox.outcomes import Accepted, Rejected

BASE_S = 20.0
# A program may take as long as so many products of the layer with an [in, in] matrix...
PRODUCTS = 200
# ... on a core this slow: a tenth of what a core of today does.
FLOPS = 1e10
BASE_BYTES = 768 << 20
# Times the layer's weight and Gram matrix, float32.
INPUTS = 8.0
LIFETIME_S = 3600.0


@dataclass(frozen=True)
class ProgramLimits:
    """What a program may take; it follows from the sizes of the layers.

    Args:
        seconds: For the layers of one call, together.
        memory_bytes: Of the container.
    """

    seconds: float
    memory_bytes: int

    @classmethod
    def of(cls, shapes: Iterable[tuple[int, int]]) -> "ProgramLimits":
        """Limits for layers ``(o, i)`` that are pruned in one call."""
        seconds, largest = BASE_S, 0
        for rows, columns in shapes:
            flops = 2 * (rows * columns**2 + columns**3) * PRODUCTS
            seconds += flops / FLOPS
            largest = max(largest, 4 * (rows * columns + columns**2))
        return cls(math.ceil(seconds), BASE_BYTES + int(INPUTS * largest))

    def to_json(self) -> dict[str, float]:
        """Plain JSON form."""
        return {"seconds": self.seconds, "memory_mb": self.memory_bytes / 1e6}


def limits_of(layers: "Iterable[PrunableLinear]") -> ProgramLimits:
    """Limits of the model's largest block."""
    blocks: dict[int, list[tuple[int, int]]] = {}
    for layer in layers:
        blocks.setdefault(layer.block, []).append(layer.shape)
    found = [ProgramLimits.of(shapes) for shapes in blocks.values()]
    return max(found, key=lambda limits: limits.seconds, default=ProgramLimits.of([]))


@dataclass
class SandboxPrograms:
    """Runs programs in single-use containers, each layer in a process of its own.

    A container for each call of the engine: a block's layers, or a step's.

    Args:
        inputs: Folder that containers may read.
        run_id: Name of the run, for its containers.
        limits: Of the largest call; asked for when the first container is made.
    """

    inputs: Path
    run_id: str
    limits: Callable[[], ProgramLimits] = lambda: ProgramLimits.of([])

    @cached_property
    def sandbox(self) -> "Sandbox":
        """The sandbox, opened at first use."""
        from sandbox.client import Sandbox
        from sandbox.limits import Limits

        self.inputs.mkdir(parents=True, exist_ok=True)
        seconds = self.limits().seconds
        limits = Limits(
            score_s=seconds,
            lifetime_s=LIFETIME_S + 2 * seconds,
            memory_bytes=BASE_BYTES,
            memory_per_input=INPUTS,
            warm=2,
        )
        return Sandbox(inputs=self.inputs, limits=limits, run_id=self.run_id).__enter__()

    def require(self, program: Candidate) -> None:
        """Try a program on the tiny block.

        Raises:
            CandidateRejectedError: If it is turned away.
        """
        self.recount(self._accepted(self.probe(program)))

    def probe(self, program: Candidate) -> "Accepted | Rejected":
        """What the sandbox says about a program on the tiny block, zeros not counted."""
        return self.sandbox.probe_program(program.source, dict(program.params))

    @staticmethod
    def recount(made: "Accepted") -> None:
        """Count the zeros of what :meth:`probe` gave.

        Raises:
            CandidateRejectedError: If the budget is missed.
        """
        from autoprune.programs import LayerBudget, settle
        from sandbox.probe_programs import TINY, tiny_tensors

        for index, weights in enumerate(made.scores):
            dense = _tensor(tiny_tensors(index)["W"])
            budget = LayerBudget.from_json(TINY[index][1])
            settle(_tensor(weights), dense, budget, dense.dtype, f"layer {index} of the tiny block")

    def run(self, program: Candidate, tasks: "Sequence[LayerTask]") -> "list[Tensor]":
        """See :class:`autoprune.programs.ProgramRunner`."""
        from safetensors.torch import save_file

        from sandbox.cell import LayerInput

        box = self.sandbox
        folder = Path(tempfile.mkdtemp(prefix=".layers-", dir=self.inputs))
        try:
            layers = []
            for number, task in enumerate(tasks):
                path = folder / f"{number}.safetensors"
                save_file({"W": task.weight, **_apart(task.stats)}, path)
                path.chmod(0o444)
                shape = (task.weight.shape[0], task.weight.shape[1])
                budget, position = task.budget.to_json(), dict(task.position)
                layers.append(LayerInput(path, shape, budget, position))
            seconds = ProgramLimits.of(layer.shape for layer in layers).seconds
            params = dict(program.params)
            made = self._accepted(box.prune_layers(program.source, layers, params, wall_s=seconds))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return [_tensor(weights) for weights in made.scores]

    def close(self) -> None:
        """Stop the sandbox."""
        opened: Any = self.__dict__.pop("sandbox", None)
        if opened is not None:
            opened.__exit__(None, None, None)

    def __enter__(self) -> "SandboxPrograms":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @staticmethod
    def _accepted(answer: Any) -> "Accepted":
        from sandbox.outcomes import Accepted

        if not isinstance(answer, Accepted):
            raise CandidateRejectedError(str(answer.code), answer.detail)
        return answer


def is_program(metric: str) -> bool:
    """Whether what prunes is a program: ``program:FILE.py`` or ``program:NAME``."""
    return metric.startswith(PROGRAM_PREFIX)


def program_record(program: Candidate, metric: str, limits: ProgramLimits) -> dict[str, Any]:
    """What is kept of a program beside a pruned model.

    Args:
        program: Of kind ``program``.
        metric: Where it came from, ``program:FILE.py``.
        limits: What it was allowed.
    """
    name = Path(metric.removeprefix(PROGRAM_PREFIX)).name
    return {
        "name": name,
        "digest": program.digest,
        "params": dict(program.params),
        "source": program.source,
        "limits": limits.to_json(),
    }


def turned_away(metric: str, error: CandidateRejectedError) -> NothingPassedError:
    """A program's refusal as the end of a command."""
    ref = metric.removeprefix(PROGRAM_PREFIX)
    return NothingPassedError(
        f"the sandbox rejects {ref} ({error.code}: {error.detail}); nothing was pruned; change the "
        f"file and try it with `autoprune validate {ref}`"
    )


def _apart(stats: "dict[str, Tensor] | Any") -> "dict[str, Tensor]":
    return {name: value.contiguous() for name, value in stats.items()}


def _tensor(values: Any) -> "Tensor":
    import torch

    # A copy where the pages cannot be written: whoever gets it may.
    return torch.from_numpy(values if values.flags.writeable else values.copy())
