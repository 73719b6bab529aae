"""Programs in the container: the library's :class:`autoprune.programs.ProgramRunner`."""

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoprune.bench.program_limits import BASE_BYTES, BASE_S, INPUTS, ProgramLimits
from autoprune.candidate import Candidate, CandidateRejectedError
from autoprune.errors import NothingPassedError
from autoprune.program_files import PROGRAM_PREFIX, handed_constants, prunes_blocks
from autoprune.programs import LayerBudget, require_same, settle
from sandbox.client import Sandbox
from sandbox.container import LayerInput
from sandbox.exchange import job_folder
from sandbox.limits import Limits
from sandbox.outcomes import Accepted
from sandbox.probe_blocks import block_input, tiny_block
from sandbox.probe_programs import TINY, tiny_tensors
from sandbox.worker.block import Block

if TYPE_CHECKING:
    from torch import Tensor

    from autoprune.programs import BlockTask, LayerTask
    from sandbox.outcomes import Rejected
    from sandbox.verdicts import Scores

LIFETIME_S = 3600.0
PROCESSORS = os.cpu_count() or 1
# Threads count against a container's limit of processes, which leaves room for this many.
MOST_THREADS = 32


@dataclass
class SandboxPrograms:
    """Runs programs in containers of their own, each layer or block in its own process.

    The run of a program on a model has a container for each processor, to which the layers or
    blocks of a call are shared out; :meth:`done` ends them. Whichever of them gets a layer, its
    process computes with one thread, so that the bits are the same.

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
            cpus=PROCESSORS,
            jobs_at_once=PROCESSORS,
        )
        return Sandbox(inputs=self.inputs, limits=limits, run_id=self.run_id).__enter__()

    def require(self, program: Candidate) -> None:
        """Try a program on the tiny block."""
        made = self._accepted(self.probe(program))
        self.recount(made, blocks=prunes_blocks(program.source))

    def probe(self, program: Candidate) -> "Accepted | Rejected":
        """The sandbox's verdict on a program on the tiny block, without counting zeros."""
        return self.sandbox.probe_program(program.source, _constants(program))

    @staticmethod
    def recount(made: Accepted, *, blocks: bool = False) -> None:
        """Count the zeros of what :meth:`probe` gave."""
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
            return [_tensor(weights) for weights in self._prune(program, layers, seconds)]

    def run_blocks(
        self, program: Candidate, tasks: "Sequence[BlockTask]"
    ) -> "list[dict[str, Tensor]]":
        """See :class:`autoprune.programs.ProgramRunner`."""
        import torch

        for task in tasks:
            with torch.no_grad():
                require_same(task, Block, f"block {task.position['block']}")
        with job_folder(self.inputs) as folder:
            layers, seconds = [], 0.0
            for number, task in enumerate(tasks):
                budgets = {name: budget.to_json() for name, budget in task.budgets.items()}
                path = folder / f"{number}.safetensors"
                layers.append(block_input(path, task, budgets, dict(task.position)))
                shapes = [(w.shape[0], w.shape[1]) for w in task.weights.values()]
                seconds += ProgramLimits.of(shapes, task.inputs[..., 0].numel()).seconds
            threads = min(PROCESSORS, MOST_THREADS) if len(tasks) == 1 and tasks[0].quick else 1
            rows = self._prune(program, layers, seconds, threads)
        pairs = zip(rows, tasks, strict=True)
        return [matrices(_tensor(row), task.weights) for row, task in pairs]

    def _prune(
        self, program: Candidate, layers: Sequence[LayerInput], seconds: float, threads: int = 1
    ) -> "list[Scores]":
        """New weights in the order of the layers."""
        if seconds > self._seconds:
            # Containers that wait might end before the call's time is over.
            self.close()
            self._seconds = seconds
        box, params = self.sandbox, _constants(program)

        def part(numbers: Sequence[int]) -> "Sequence[Scores]":
            own = [layers[number] for number in numbers]
            answer = box.prune_layers(
                program.source, own, params, wall_s=seconds, cpu_s=self.most, threads=threads
            )
            return self._accepted(answer).scores

        shares = shared_out([_work(layer) for layer in layers], PROCESSORS)
        if len(shares) == 1:
            return list(part(shares[0]))
        with ThreadPoolExecutor(len(shares)) as pool:
            try:
                found = list(pool.map(part, shares))
            except Exception:
                raise
            except BaseException:
                # An interrupt waits for no program.
                self.close()
                raise
        made = {
            number: weights
            for numbers, scores in zip(shares, found, strict=True)
            for number, weights in zip(numbers, scores, strict=True)
        }
        return [made[number] for number in range(len(layers))]

    def done(self) -> None:
        """Kill the containers of the program that ran."""
        opened: Any = self.__dict__.get("sandbox")
        if opened is not None:
            opened.let_go()

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


def shared_out(work: Sequence[float], count: int) -> list[list[int]]:
    """Share jobs out, the largest first, each to whom has least."""
    shares: list[list[int]] = [[] for _ in range(min(count, len(work)))]
    for job in sorted(range(len(work)), key=lambda number: -work[number]):
        min(shares, key=lambda share: sum(work[number] for number in share)).append(job)
    return sorted(sorted(share) for share in shares)


def _work(layer: LayerInput) -> float:
    """Rises with a program's work on a layer: products of its weights with a Gram matrix."""
    rows, columns = layer.shape
    return float(columns) ** 2 * (rows + columns)


def program_record(program: Candidate, metric: str, limits: ProgramLimits) -> dict[str, Any]:
    """Record of a program kept with a pruned model."""
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
