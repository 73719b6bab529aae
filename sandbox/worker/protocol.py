"""Frames between the host and the broker: strict, bounded, the same code on both sides.

A frame is ``magic, header length (u32), payload length (u64)``, a flat JSON header of texts and
integers, and raw payload bytes. Nothing here is ever unpickled or evaluated, and a parser that
has seen one wrong byte refuses everything after it.
"""

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, NoReturn

MAGIC = b"APS1"
PREFIX = struct.Struct("<4sIQ")
MAX_HEADER = 4096
MAX_JOB = 16 << 20
MAX_REPLY = 16 << 10
MAX_INTEGER = 1 << 62

REPLY_KEYS = {
    "ready": {"kind", "python", "torch", "filter"},
    "failed": {"kind"},
    "done": {"kind", "job", "nonce", "code"},
}


class ProtocolError(Exception):
    """Bytes that are not a frame, or a frame that says something it must not."""


@dataclass(frozen=True)
class Frame:
    """One message: a flat header and raw bytes."""

    header: Mapping[str, str | int]
    payload: bytes = b""


def encode(header: Mapping[str, str | int], payload: bytes = b"") -> bytes:
    """Serialise one frame."""
    text = json.dumps(dict(header), allow_nan=False, separators=(",", ":")).encode()
    if len(text) > MAX_HEADER:
        raise ProtocolError(f"header of {len(text)} bytes; at most {MAX_HEADER} are allowed")
    return PREFIX.pack(MAGIC, len(text), len(payload)) + text + payload


class FrameParser:
    """Turns a byte stream, however it is cut, into frames.

    Args:
        max_payload: Largest payload accepted, in bytes; the length is refused before it is read.
    """

    def __init__(self, max_payload: int) -> None:
        self._max_payload = max_payload
        self._buffer = bytearray()
        self._broken = False

    def feed(self, data: bytes) -> list[Frame]:
        """Add bytes and return the frames that are now complete."""
        if self._broken:
            raise ProtocolError("the stream was already damaged")
        self._buffer += data
        frames = []
        try:
            while (frame := self._take()) is not None:
                frames.append(frame)
        except ProtocolError:
            self._broken = True
            self._buffer.clear()
            raise
        return frames

    @property
    def pending(self) -> int:
        """Bytes of an unfinished frame."""
        return len(self._buffer)

    def _take(self) -> Frame | None:
        seen = bytes(self._buffer[: len(MAGIC)])
        if not MAGIC.startswith(seen):
            raise ProtocolError(f"frame starts with {seen!r}; {MAGIC!r} was expected")
        if len(self._buffer) < PREFIX.size:
            return None
        _, header_size, payload_size = PREFIX.unpack_from(self._buffer)
        if header_size > MAX_HEADER or payload_size > self._max_payload:
            raise ProtocolError(
                f"frame of {header_size} + {payload_size} bytes; "
                f"at most {MAX_HEADER} + {self._max_payload} are allowed"
            )
        end = PREFIX.size + header_size + payload_size
        if len(self._buffer) < end:
            return None
        header = _parse_header(bytes(self._buffer[PREFIX.size : PREFIX.size + header_size]))
        payload = bytes(self._buffer[PREFIX.size + header_size : end])
        del self._buffer[:end]
        return Frame(header, payload)


def check_reply(frame: Frame) -> str:
    """Check a broker's frame against the exact keys of its kind, and return the kind."""
    kind = frame.header.get("kind")
    if not isinstance(kind, str) or kind not in REPLY_KEYS:
        raise ProtocolError(f"reply of unknown kind {str(kind)[:40]!r}")
    if set(frame.header) != REPLY_KEYS[kind]:
        raise ProtocolError(f"reply {kind!r} has the keys {sorted(frame.header)!r}"[:300])
    for key, value in frame.header.items():
        if type(value) is not str:
            raise ProtocolError(f"reply {kind!r}: {key} is not of type str")
    if kind == "ready" and frame.payload:
        raise ProtocolError(f"reply {kind!r} carries {len(frame.payload)} bytes; none are allowed")
    return kind


@dataclass(frozen=True)
class JobLayer:
    """One layer of a job: an anonymous file name in the input folder, and its shape.

    Args:
        file: Name in the input folder.
        rows: Outputs.
        columns: Inputs.
        budget: What a program must zero, of a block by matrix; None for a metric.
        position: Where the layer stands in its model; None if it is not given.
        block: Of a whole block, whose new weights are one row: its form, and ``matrices``, the
            shapes of these by sorted name.
    """

    file: str
    rows: int
    columns: int
    budget: Mapping[str, Any] | None = None
    position: Mapping[str, Any] | None = None
    block: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Job:
    """What the broker is asked to run.

    Args:
        source: Python source of the candidate.
        params: Tunable constants handed to ``score``.
        layers: Input layers.
        order: In which order the layers are scored; the scores of layer ``i`` are written to the
            result file at the offset of layer ``i``, whenever its turn was.
        check_inputs: Compare the inputs with their file after each call.
        wall_s: Seconds for the job.
        open_files: Limit of open descriptors in the child.
        output_bytes: Printed bytes after which the job is ended.
        syscall_filter: Install the inner system-call filter in the child.
        entry: Function of the source that is called: ``score``, or ``prune_layer`` or
            ``prune_block``, each call of which has a process of its own, so that nothing is kept.
        cpu_s: Processor seconds of one process, which other work does not use up; None: as many
            as ``threads`` use in ``wall_s``.
        threads: Threads of torch.
    """

    source: str
    params: dict[str, float]
    layers: tuple[JobLayer, ...]
    order: tuple[int, ...]
    check_inputs: bool
    wall_s: float
    open_files: int
    output_bytes: int
    syscall_filter: bool = True
    entry: str = "score"
    cpu_s: float | None = None
    threads: int = 1

    def __post_init__(self) -> None:
        if not all(math.isfinite(value) for value in self.params.values()):
            raise ProtocolError(f"params {self.params!r} are not all finite")

    @property
    def parts(self) -> "list[Job]":
        """What one process runs: a metric's layers together, a program's each for itself."""
        if self.entry == "score":
            return [self]
        return [replace(self, order=(index,)) for index in self.order]

    @property
    def processor_s(self) -> int:
        """Whole seconds of the processor that one process may use."""
        spent = self.wall_s * self.threads
        return int(spent) + 1 if self.cpu_s is None else math.ceil(self.cpu_s)

    @property
    def result_bytes(self) -> int:
        """Bytes of the scores: float32, all layers."""
        return 4 * sum(layer.rows * layer.columns for layer in self.layers)

    @property
    def offsets(self) -> list[int]:
        """Where each layer's scores start, in bytes."""
        offsets, position = [], 0
        for layer in self.layers:
            offsets.append(position)
            position += 4 * layer.rows * layer.columns
        return offsets

    def to_bytes(self) -> bytes:
        """JSON form, the payload of a job frame."""
        return json.dumps(asdict(self), allow_nan=False).encode("utf-8", "surrogatepass")

    @classmethod
    def from_bytes(cls, data: bytes) -> "Job":
        """Inverse of :meth:`to_bytes`; the sender is the trusted host."""
        fields: dict[str, Any] = json.loads(data)
        fields["layers"] = tuple(JobLayer(**layer) for layer in fields["layers"])
        fields["order"] = tuple(fields["order"])
        return cls(**fields)


def _parse_header(text: bytes) -> dict[str, str | int]:
    try:
        header = json.loads(
            text.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_float=_refuse,
            parse_constant=_refuse,
        )
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"header is not plain JSON: {type(error).__name__}") from None
    if not isinstance(header, dict):
        raise ProtocolError("header is not a JSON object")
    for value in header.values():
        if type(value) is int:
            if not -MAX_INTEGER <= value <= MAX_INTEGER:
                raise ProtocolError("header holds an integer out of range")
        elif type(value) is not str:
            raise ProtocolError("header values are texts and integers only")
    return header


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        raise ProtocolError("header has a key twice")
    return mapping


def _refuse(text: str) -> NoReturn:
    raise ProtocolError("header holds a number that is not an integer")
