"""One container, used for one candidate: started ahead of time, given a job, killed."""

import hmac
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox.channel import Channel, DeadlinePassedError, StreamEndedError
from sandbox.engine import ENGINE_ERRORS, ContainerEngine, ContainerState
from sandbox.errors import SandboxBrokenError, SandboxUnavailableError
from sandbox.exchange import Exchange, Workspace
from sandbox.first_process import FirstProcess
from sandbox.image_ref import ImageRef
from sandbox.limits import Limits
from sandbox.ownership import LABEL_DEADLINE
from sandbox.screen import SCORE
from sandbox.verdicts import Scores
from sandbox.worker.protocol import Job, JobLayer, ProtocolError, check_reply, encode

# Results of at least this size are mapped, not copied; below it, ending the container costs more.
MAPPED_BYTES = 32 << 20
# The base memory has room for inputs of a metric up to this size.
_SMALL_INPUT = 16 << 20
_END_S = 5


@dataclass(frozen=True)
class LayerInput:
    """A layer file: safetensors with ``W`` and its statistics.

    Args:
        file: Host path.
        shape: Shape of ``W``, [out, in].
        budget: What a program must zero: ``group``, ``zeros`` and, for N:M, ``n`` and ``m``; for a
            block, by matrix.
        position: Where the layer is in the model: ``block``, ``depth``, ``kind``.
        block: See :class:`sandbox.worker.protocol.JobLayer`.
    """

    file: Path
    shape: tuple[int, int]
    budget: Mapping[str, Any] | None = None
    position: Mapping[str, Any] | None = None
    block: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Order:
    """What a job has to do with its layers.

    Args:
        source: The candidate.
        params: Its constants.
        layers: Inputs.
        runs: Orders of layer indices, each scored in a container of its own.
        check_inputs: Report inputs that were changed in place.
        wall_s: Time limit of a run, seconds.
        contract: The layers are those of the probe with their variants; judge the variants too.
        entry: Function of the source to call.
        cpu_s: Processor seconds of one process; None: as many as its threads use in ``wall_s``.
        threads: Threads of torch in each process.
        keep: The container stays for the next job of the same program.
    """

    source: str
    params: dict[str, float]
    layers: Sequence[LayerInput]
    runs: tuple[tuple[int, ...], ...]
    check_inputs: bool
    wall_s: float
    contract: bool = False
    entry: str = SCORE
    cpu_s: float | None = None
    threads: int = 1
    keep: bool = False

    @property
    def count(self) -> int:
        """Number of scores in one run, all layers together."""
        return sum(rows * columns for rows, columns in (layer.shape for layer in self.layers))


@dataclass(frozen=True)
class Ended:
    """The broker's answer; only text, no numbers.

    Args:
        code: ``ok`` or a rejection code.
        detail: One line from the worker or the candidate; hostile text.
        printed: The end of what the candidate printed; hostile text.
    """

    code: str
    detail: str
    printed: str


class ContainerLostError(Exception):
    """No valid answer came.

    Args:
        kind: ``ended``, ``late`` or ``protocol``.
        detail: What was seen.
    """

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


class Container:
    """A container ready for one candidate.

    Args:
        image: What it runs.
        limits: Its limits.
        workspace: Host folders of the sandbox.
        labels: Labels that name its owner.

    Raises:
        SandboxUnavailableError: If the container cannot be made or does not become ready.
    """

    def __init__(
        self, image: ImageRef, limits: Limits, workspace: Workspace, labels: Mapping[str, str]
    ) -> None:
        self._limits = limits
        self._memory = limits.memory_bytes
        self._engine = ContainerEngine()
        self._exchange = Exchange(workspace)
        self._channel: Channel | None = None
        self._process: FirstProcess | None = None
        # Whether a job ended well and its scores were copied out of the living container.
        self._served = False
        self.id = ""
        self.expires = time.monotonic() + limits.lifetime_s
        deadline = f"{time.time() + limits.lifetime_s + 60:.0f}"
        try:
            self._start(image, {**labels, LABEL_DEADLINE: deadline})
        except BaseException:
            self.close()
            raise

    def run(self, order: Order, run: int) -> Ended:
        """Execute one run of an order; the container must be closed or renewed afterwards."""
        self._served = False
        job = self._prepare(order, run)
        assert self._channel is not None
        identity = {"job": secrets.token_hex(8), "nonce": secrets.token_hex(16)}
        deadline = time.monotonic() + order.wall_s + self._limits.grace_s
        budget = 1 << 16
        frame = encode({"kind": "job", **identity}, job.to_bytes())
        try:
            self._channel.send(frame, deadline, budget)
            for reply in self._channel.frames(deadline):
                kind = check_reply(reply)
                _check_identity(reply.header, identity)
                if kind != "done":
                    raise ProtocolError(f"reply {kind!r} in the middle of a job")
                text = reply.payload.decode("utf-8", "replace")
                detail, _, printed = text.partition("\n\0")
                return Ended(str(reply.header["code"]), detail, printed)
        except ProtocolError as error:
            raise ContainerLostError("protocol", str(error)) from error
        except DeadlinePassedError as error:
            raise ContainerLostError("late", f"no answer after {order.wall_s:g} s") from error
        except StreamEndedError as error:
            raise ContainerLostError("ended", self._channel.diagnostics or str(error)) from error
        raise AssertionError("the stream ends by an exception")

    def take_scores(self, count: int, *, keep: bool = False) -> Scores:
        """Raw scores of the finished job, all layers in one row.

        Large results are not copied: the caller gets the pages that the candidate wrote. That is
        safe only once nothing can write to or truncate them, so the container is ended first.
        """
        mapped = not keep and 4 * count >= MAPPED_BYTES and self._end()
        take = self._exchange.map_result if mapped else self._exchange.read_result
        scores = take(count)
        if scores is None:
            raise ContainerLostError("protocol", "the result file was cut")
        self._served = keep
        return scores

    def renew(self) -> bool:
        """Make the container ready for another job of its program."""
        return self._served and self.is_usable and self._exchange.renew()

    def end(self) -> None:
        """Make sure that no process of the container is left."""
        if not self._end() and not self._engine.remove(self.id):
            raise SandboxBrokenError(
                "the Docker Engine could not end a container; run: autoprune doctor"
            )

    def _end(self) -> bool:
        """Let the broker exit; return True once no process of the container is left.

        The first process of a PID namespace ends only after all others have.
        """
        if self._process is None:
            return False
        assert self._channel is not None
        self._channel.hang_up()
        return self._process.wait(_END_S)

    @property
    def is_usable(self) -> bool:
        """Whether the container still waits for its job; a restarting daemon ends all of them."""
        return self._channel is not None and self._channel.is_open

    def state(self) -> ContainerState:
        """Ask the daemon for the container's state."""
        return self._engine.state(self.id)

    def close(self) -> bool:
        """Kill and remove the container and its files; False when the daemon kept it."""
        if self._channel is not None:
            self._channel.close()
        if self._process is not None:
            self._process.close()
        gone = self._engine.remove(self.id) if self.id else True
        self._exchange.close(container_gone=gone)
        self._engine.close()
        return gone

    def _start(self, image: ImageRef, labels: dict[str, str]) -> None:
        deadline = time.monotonic() + self._limits.start_s
        try:
            self.id = self._engine.create(
                image,
                self._limits,
                memory=self._memory,
                labels=labels,
                inputs=str(self._exchange.inputs),
                result=str(self._exchange.result),
            )
            self._channel = Channel(self._engine.attach(self.id))
            self._engine.start(self.id)
            reply = next(self._channel.frames(deadline))
            kind = check_reply(reply)
        except StreamEndedError as error:
            # Raises if the daemon is gone, rather than the container.
            self.state()
            diagnostics = self._channel.diagnostics if self._channel else ""
            raise SandboxUnavailableError(
                f"the container ended before it was ready ({diagnostics or error}); "
                "run: autoprune doctor"
            ) from error
        except (DeadlinePassedError, ProtocolError) as error:
            raise SandboxUnavailableError(
                f"the container was not ready after {self._limits.start_s:g} s ({error}); "
                "run: autoprune doctor"
            ) from error
        except ENGINE_ERRORS as error:
            raise SandboxBrokenError(
                f"the Docker Engine could not start a container ({str(error)[:300]}); "
                "run: autoprune doctor"
            ) from error
        if kind != "ready":
            text = reply.payload.decode("utf-8", "replace")[:300]
            raise SandboxUnavailableError(f"torch did not load in the container: {text}")
        self._exchange.lock()
        self._process = FirstProcess.of(self.id, self.state().pid)

    def _prepare(self, order: Order, run: int) -> Job:
        names = self._exchange.prepare([layer.file for layer in order.layers], 4 * order.count)
        largest = max((layer.file.stat().st_size for layer in order.layers), default=0)
        memory = self._limits.memory_bytes + int(self._limits.memory_per_input * largest)
        # A program always gets the memory that its printed limits state.
        is_small = order.entry == SCORE and largest <= _SMALL_INPUT
        if memory > self._memory and not is_small:
            try:
                self._engine.raise_memory(self.id, memory)
            except ENGINE_ERRORS as error:
                # Otherwise the program would be blamed for a daemon that gives no memory.
                if self.state().running:
                    raise SandboxBrokenError(
                        f"the Docker Engine could not give a container {memory >> 20} MiB "
                        f"({str(error)[:300]}); run: autoprune doctor"
                    ) from error
                raise ContainerLostError("ended", str(error)[:300]) from error
            self._memory = memory
        return Job(
            source=order.source,
            params={
                str(name): value if type(value) is int else float(value)
                for name, value in order.params.items()
            },
            layers=tuple(
                JobLayer(name, *layer.shape, layer.budget, layer.position, layer.block)
                for name, layer in zip(names, order.layers, strict=True)
            ),
            order=order.runs[run],
            check_inputs=order.check_inputs,
            wall_s=order.wall_s,
            open_files=self._limits.open_files,
            output_bytes=self._limits.output_bytes,
            syscall_filter=self._limits.syscall_filter,
            entry=order.entry,
            cpu_s=order.cpu_s,
            threads=order.threads,
        )


def _check_identity(header: object, identity: dict[str, str]) -> None:
    assert hasattr(header, "get")
    for key, value in identity.items():
        if not hmac.compare_digest(str(header.get(key, "")).encode(), value.encode()):
            raise ProtocolError(f"reply with another {key} than the one asked for")
