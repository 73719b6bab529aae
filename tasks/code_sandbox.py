"""Completions of the suite ``code`` in the container: arguments in, results out, as bytes."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from autoprune.evaluation.suites.code_running import Returned
from sandbox.client import Sandbox
from sandbox.container import LayerInput
from sandbox.engine import ContainerEngine
from sandbox.exchange import job_folder
from sandbox.limits import Limits
from sandbox.outcomes import Rejected

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Largest size of a call's arguments and of its result, as JSON.
MOST_BYTES = 4096
# The code around a completion in the container. The completion can reach it and may make it
# return anything, but the correct results are not there.
_HARNESS = """\
import json
import torch

def prune_layer(W, stats, params):
    text = bytes(W[0, 1 : 1 + int(W[0, 0])].to(torch.uint8).tolist()).decode()
    space = {{"__name__": "completion"}}
    exec(compile({source!r}, "candidate.py", "exec"), space)
    with torch.enable_grad():
        result = space[{name!r}](*json.loads(text))
    data = json.dumps(result).encode()
    if len(data) > {most}:
        raise ValueError("the result is longer than {most} bytes")
    found = torch.zeros_like(W)
    found[0, 0] = len(data)
    found[0, 1 : 1 + len(data)] = torch.tensor(list(data), dtype=torch.float32)
    return found
"""


@dataclass(frozen=True)
class DockerCode:
    """The library's :class:`autoprune.evaluation.suites.code_running.CodeSandbox`.

    Args:
        inputs: Folder that containers may read.
        run_id: Label of the containers.
    """

    inputs: Path
    run_id: str = "code"

    def require(self) -> None:
        """Check that a Docker Engine answers."""
        ContainerEngine().close()

    @contextmanager
    def open(self) -> "Iterator[ContainerCode]":
        """Provide containers while the context is open; each runs one completion."""
        self.inputs.mkdir(parents=True, exist_ok=True)
        # The screen is for metrics, which need little of Python; the container is the wall.
        box = Sandbox(
            inputs=self.inputs, limits=Limits(warm=2), run_id=self.run_id, screening=False
        )
        with box:
            yield ContainerCode(box, self.inputs)


@dataclass(frozen=True)
class ContainerCode:
    """Runs completions in an open sandbox.

    Args:
        box: The sandbox.
        inputs: Its folder.
    """

    box: Sandbox
    inputs: Path

    def run(
        self, source: str, name: str, calls: Sequence[Sequence[Any]], seconds: float
    ) -> Returned:
        """See :class:`autoprune.evaluation.suites.code_running.CodeRunner`.

        Each call has its own process; all calls of a completion share its own container.
        """
        from safetensors.numpy import save_file

        with job_folder(self.inputs) as folder:
            layers = []
            for number, call in enumerate(calls):
                path = folder / f"{number}.safetensors"
                save_file({"W": _packed(call)}, path)
                path.chmod(0o444)
                layers.append(LayerInput(path, (1, MOST_BYTES + 1)))
            harness = _HARNESS.format(source=source, name=name, most=MOST_BYTES)
            try:
                outcome = self.box.prune_layers(harness, layers, wall_s=seconds)
            finally:
                # Kept for a program's next layers; a solution has none.
                self.box.let_go()
        if isinstance(outcome, Rejected):
            return Returned(str(outcome.code))
        return Returned("ok", tuple(map(_unpacked, outcome.scores)))


def _packed(call: Sequence[Any]) -> "NDArray[np.float32]":
    data = json.dumps(list(call)).encode()
    if len(data) > MOST_BYTES:
        raise ValueError(f"arguments of {len(data)} bytes; at most {MOST_BYTES} go in")
    row = np.zeros((1, MOST_BYTES + 1), np.float32)
    row[0, 0] = len(data)
    row[0, 1 : 1 + len(data)] = np.frombuffer(data, np.uint8)
    return row


def _unpacked(row: "NDArray[np.float32]") -> str:
    """The text of a result, from hostile numbers; empty, and so not JSON, where it is not text."""
    length, *rest = row[0].tolist()
    if not 0 <= length <= MOST_BYTES or length != int(length):
        return ""
    values = rest[: int(length)]
    if not all(0 <= value <= 255 and value == int(value) for value in values):
        return ""
    return bytes(map(int, values)).decode("utf-8", "replace")
