"""Programs in the container: the library's :class:`autoprune.programs.ProgramRunner`."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoprune.bench.block_programs import held_out
from autoprune.candidate import Candidate, CandidateRejectedError
from autoprune.errors import NothingPassedError
from autoprune.program_files import PROGRAM_PREFIX, handed_constants, prunes_blocks
from autoprune.programs import READS, LayerBudget, require_same, settle
from sandbox.cell import LayerInput
from sandbox.client import Sandbox
from sandbox.exchange import job_folder
from sandbox.limits import Limits
from sandbox.outcomes import Accepted
from sandbox.probe_blocks import block_input, tiny_block
from sandbox.probe_programs import TINY, tiny_tensors
from sandbox.worker.block import Block

if TYPE_CHECKING:
    from torch import Tensor

    from autoprune.models.structure import PrunableLinear
    from autoprune.programs import BlockTask, LayerTask
    from sandbox.outcomes import Rejected

BASE_S = 20.0
# A program may take as long as this many products of the layer with an [in, in] matrix...
PRODUCTS = 200
# ... on a core this slow: a tenth of the speed of a current core.
FLOPS = 1e10
# A block program may also take this many times the block's passes with gradients on all its text.
PASSES = 16
BASE_BYTES = 768 << 20
# Multiple of the input of one call: a layer's weight and Gram matrix; a block with hidden states.
INPUTS = 8.0
LIFETIME_S = 3600.0
# They read what q_proj or gate_proj reads.
SHARING = frozenset({"k_proj", "v_proj", "up_proj"})


@dataclass(frozen=True)
class ProgramLimits:
    """Resources that a program may use, derived from the sizes of the layers.

    Args:
        seconds: Time for all layers of one call together.
        memory_bytes: Memory of the container.
    """

    seconds: float
    memory_bytes: int

    @classmethod
    def of(
        cls,
        shapes: Iterable[tuple[int, int]],
        tokens: int = 0,
        inputs: Sequence[int] | None = None,
    ) -> "ProgramLimits":
        """Limits for what is pruned in one call.

        Args:
            shapes: ``(o, i)`` of the layers.
            tokens: Calibration tokens that a block program gets; 0: a layer program.
            inputs: ``i`` of each of a block's inputs, which matrices may share; None: one for each
                matrix.
        """
        shapes, seconds = list(shapes), BASE_S
        for rows, columns in shapes:
            # A pass and its gradients are three products of each weight with each token.
            flops = 2 * (rows * columns**2 + columns**3) * PRODUCTS
            seconds += (flops + 6 * rows * columns * tokens * PASSES) / FLOPS
        weights = [4 * rows * columns for rows, columns in shapes]
        widths = [columns for _, columns in shapes]
        if tokens:
            statistics = sum(map(_statistics_bytes, widths if inputs is None else inputs))
            given = sum(weights) + statistics + 8 * tokens * min(widths)
        else:
            pairs = zip(weights, widths, strict=True)
            given = max((own + _statistics_bytes(width) for own, width in pairs), default=0)
        return cls(math.ceil(seconds), BASE_BYTES + int(INPUTS * given))

    def to_json(self) -> dict[str, float]:
        """Plain JSON form."""
        return {"seconds": self.seconds, "memory_mb": self.memory_bytes / 1e6}


def _statistics_bytes(columns: int) -> int:
    """Size of a Gram matrix and the vectors beside it, float32."""
    return 4 * columns * (columns + len(READS) - 1)


def limits_of(
    layers: "Iterable[PrunableLinear]",
    windows: int = 0,
    seqlen: int = 0,
    source: str | None = None,
) -> ProgramLimits:
    """Limits of the model's largest block.

    Args:
        layers: The prunable ones.
        windows: Calibration windows of a draw; block programs get those that are not held out.
        seqlen: Their length in tokens.
        source: The program; None: the limits hold for any.
    """
    tokens = held_out(windows)[0] * seqlen
    tokens = tokens if source is None or prunes_blocks(source) else 0
    blocks: dict[int, list[PrunableLinear]] = {}
    for layer in layers:
        blocks.setdefault(layer.block, []).append(layer)
    found = []
    for members in blocks.values():
        inputs = [layer.shape[1] for layer in members if layer.projection not in SHARING]
        found.append(ProgramLimits.of([layer.shape for layer in members], tokens, inputs))
    return max(found, key=lambda limits: limits.seconds, default=ProgramLimits.of([]))


@dataclass
class SandboxPrograms:
    """Runs programs in single-use containers, each layer in its own process.

    Each call of the engine gets a container: for the layers of a block or of a step.

    Args:
        inputs: Folder that containers may read.
        run_id: Name of the run, for its containers.
        limits: Limits of the largest call that is foreseen; read when the first container is made.
            A call that needs more time opens the sandbox anew.
        warm: Containers kept ready.
        most: Processor seconds of one call of a program at most; None: by its sizes.
    """

    inputs: Path
    run_id: str
    limits: Callable[[], ProgramLimits] = lambda: ProgramLimits.of([])
    warm: int = 2
    most: float | None = None
    _seconds: float = field(default=0.0, init=False)

    @cached_property
    def sandbox(self) -> Sandbox:
        """The sandbox, opened at first use."""
        self.inputs.mkdir(parents=True, exist_ok=True)
        self._seconds = seconds = max(self._seconds, self.limits().seconds)
        limits = Limits(
            probe_s=BASE_S,
            score_s=seconds,
            lifetime_s=LIFETIME_S + 2 * seconds,
            memory_bytes=BASE_BYTES,
            memory_per_input=INPUTS,
            warm=self.warm,
        )
        return Sandbox(inputs=self.inputs, limits=limits, run_id=self.run_id).__enter__()

    def require(self, program: Candidate) -> None:
        """Try a program on the tiny block.

        Raises:
            CandidateRejectedError: If it is rejected.
        """
        made = self._accepted(self.probe(program))
        self.recount(made, blocks=prunes_blocks(program.source))

    def probe(self, program: Candidate) -> "Accepted | Rejected":
        """The sandbox's verdict on a program on the tiny block, without counting zeros."""
        return self.sandbox.probe_program(program.source, _constants(program))

    @staticmethod
    def recount(made: Accepted, *, blocks: bool = False) -> None:
        """Count the zeros of what :meth:`probe` gave.

        Args:
            made: New weights of the tiny layers.
            blocks: They are those of the tiny blocks instead.

        Raises:
            CandidateRejectedError: If the budget is missed.
        """
        if blocks:
            _recount_blocks(made)
            return
        for index, weights in enumerate(made.scores):
            dense = _tensor(tiny_tensors(index)["W"])
            budget = LayerBudget.from_json(TINY[index][1])
            settle(_tensor(weights), dense, budget, dense.dtype, f"layer {index} of the tiny block")

    def run(self, program: Candidate, tasks: "Sequence[LayerTask]") -> "list[Tensor]":
        """See :class:`autoprune.programs.ProgramRunner`."""
        from safetensors.torch import save_file

        with job_folder(self.inputs) as folder:
            layers = []
            for number, task in enumerate(tasks):
                path = folder / f"{number}.safetensors"
                save_file({"W": task.weight, **_apart(task.stats)}, path)
                path.chmod(0o444)
                shape = (task.weight.shape[0], task.weight.shape[1])
                budget, position = task.budget.to_json(), dict(task.position)
                layers.append(LayerInput(path, shape, budget, position))
            seconds = ProgramLimits.of(layer.shape for layer in layers).seconds
            made = self._prune(program, layers, seconds)
        return [_tensor(weights) for weights in made.scores]

    def run_blocks(
        self, program: Candidate, tasks: "Sequence[BlockTask]"
    ) -> "list[dict[str, Tensor]]":
        """See :class:`autoprune.programs.ProgramRunner`."""
        import torch

        for task in tasks:
            with torch.no_grad():
                block = Block(task.form, task.weights, task.rest)
                require_same(task, block, f"block {task.position['block']}")
        with job_folder(self.inputs) as folder:
            layers, seconds = [], 0.0
            for number, task in enumerate(tasks):
                budgets = {name: budget.to_json() for name, budget in task.budgets.items()}
                path = folder / f"{number}.safetensors"
                layers.append(block_input(path, task, budgets, dict(task.position)))
                shapes = [(w.shape[0], w.shape[1]) for w in task.weights.values()]
                seconds += ProgramLimits.of(shapes, task.inputs[..., 0].numel()).seconds
            made = self._prune(program, layers, seconds)
        pairs = zip(made.scores, tasks, strict=True)
        return [matrices(_tensor(row), task.weights) for row, task in pairs]

    def _prune(self, program: Candidate, layers: Sequence[LayerInput], seconds: float) -> Accepted:
        if seconds > self._seconds:
            # Containers that wait might end before the call's time is over.
            self.close()
            self._seconds = seconds
        answer = self.sandbox.prune_layers(
            program.source, layers, _constants(program), wall_s=seconds, cpu_s=self.most
        )
        return self._accepted(answer)

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
    def _accepted(answer: Any) -> Accepted:
        if not isinstance(answer, Accepted):
            raise CandidateRejectedError(str(answer.code), answer.detail)
        return answer


def is_program(metric: str) -> bool:
    """Whether a metric is a program: ``program:FILE.py`` or ``program:NAME``."""
    return metric.startswith(PROGRAM_PREFIX)


def program_record(program: Candidate, metric: str, limits: ProgramLimits) -> dict[str, Any]:
    """Record of a program kept with a pruned model.

    Args:
        program: Of kind ``program``.
        metric: Where it came from, ``program:FILE.py``.
        limits: Its limits.
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
    """The error that ends a command when a program is rejected."""
    ref = metric.removeprefix(PROGRAM_PREFIX)
    return NothingPassedError(
        f"the sandbox rejects {ref} ({error.code}: {error.detail}); nothing was pruned; change the "
        f"file and try it with `autoprune validate {ref}`"
    )


def matrices(row: "Tensor", weights: "Mapping[str, Tensor]") -> "dict[str, Tensor]":
    """Split the new matrices of a block, which come as one row, in order of name."""
    import torch

    names = sorted(weights)
    sizes = [weights[name].numel() for name in names]
    parts = torch.split(row.reshape(-1), sizes)
    pairs = zip(names, parts, strict=True)
    return {name: part.reshape(weights[name].shape) for name, part in pairs}


def _constants(program: Candidate) -> dict[str, float]:
    return handed_constants(program.source, program.params)


def _recount_blocks(made: Accepted) -> None:
    for index, row in enumerate(made.scores):
        tiny = tiny_block(index)
        for name, weight in matrices(_tensor(row), tiny.weights).items():
            budget = LayerBudget.from_json(tiny.budgets[name])
            where = f"{name} of tiny block {index}"
            settle(weight, tiny.weights[name], budget, weight.dtype, where)


def _apart(stats: "dict[str, Tensor] | Any") -> "dict[str, Tensor]":
    return {name: value.contiguous() for name, value in stats.items()}


def _tensor(values: Any) -> "Tensor":
    import torch

    # Copied if the pages are read-only, since the receiver may write to them.
    return torch.from_numpy(values if values.flags.writeable else values.copy())
