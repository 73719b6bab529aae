"""Safetensors shards, read and rewritten tensor by tensor.

Files are read, not memory-mapped: mapped pages count as resident memory of the process, so mapping
a large shard would look like loading it and hit the same limits.
"""

import hashlib
import json
import os
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import torch
from torch import Tensor

from autoprune.digest import CHUNK_BYTES
from autoprune.errors import AutopruneError, DamagedFileError, UsageError
from autoprune.storage import plain_name

INDEX_FILE = "model.safetensors.index.json"
SINGLE_FILE = "model.safetensors"
_LENGTH_BYTES = 8
_LONGEST_HEADER = 100_000_000

_TYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


@dataclass(frozen=True)
class TensorLocation:
    """Location of one tensor.

    Args:
        name: Name in the checkpoint.
        file: Name of its shard.
        kind: Safetensors name of the type, for example ``BF16``.
        shape: Its shape.
        start: First byte in the file.
        stop: Byte after the last.
    """

    name: str
    file: str
    kind: str
    shape: tuple[int, ...]
    start: int
    stop: int

    @property
    def numel(self) -> int:
        """Number of elements."""
        return int(torch.Size(self.shape).numel())

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return self.stop - self.start

    @property
    def dtype(self) -> torch.dtype:
        """Its type."""
        if self.kind not in _TYPES:
            raise UsageError(
                f"tensor {self.name!r} is stored as {self.kind}, a quantised type; allowed are "
                f"{', '.join(_TYPES)}; convert the checkpoint to bfloat16 first"
            )
        return _TYPES[self.kind]


class Checkpoint:
    """The tensors of a folder of safetensors shards.

    Args:
        folder: A folder written by ``save_pretrained``.

    Attributes:
        folder: The folder.
        files: Names of the shards.
        entries: Tensors by name.

    Raises:
        UsageError: If the folder holds no safetensors checkpoint.
        DamagedFileError: If a shard is missing or its header is unreadable.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = _shard_names(folder)
        self.entries = {e.name: e for file in self.files for e in _entries(folder / file)}

    @property
    def nbytes(self) -> int:
        """Size of all shards in bytes."""
        return sum((self.folder / file).stat().st_size for file in self.files)

    def read(self, name: str) -> Tensor:
        """Read one tensor into its own memory."""
        entry = self.entries[name]
        value = torch.empty(entry.shape, dtype=entry.dtype)
        path = self.folder / entry.file
        with _reading(path), path.open("rb", buffering=0) as stream:
            stream.seek(entry.start)
            read_all(stream, raw_bytes(value), f"{entry.file}: {name}")
        return value

    def read_ahead(self, names: Iterable[str]) -> None:
        """Ask the system to read tensors into its page cache for a later :meth:`read`.

        Uses no memory of the process and never changes results; a no-op where unsupported.
        """
        if not hasattr(os, "posix_fadvise"):
            return
        for entry in (self.entries[name] for name in names):
            # A shard that cannot be read is reported by `read`.
            with suppress(OSError), (self.folder / entry.file).open("rb", buffering=0) as stream:
                start, size = entry.start, entry.nbytes
                os.posix_fadvise(stream.fileno(), start, size, os.POSIX_FADV_WILLNEED)

    def read_rows(self, name: str, rows: Iterable[int], into: Tensor) -> None:
        """Read some rows of a matrix into the same rows of ``into``, converting their type."""
        entry = self.entries[name]
        row = torch.empty(entry.shape[1:], dtype=entry.dtype)
        size = row.numel() * row.element_size()
        path = self.folder / entry.file
        with _reading(path), path.open("rb", buffering=0) as stream:
            for index in rows:
                stream.seek(entry.start + index * size)
                read_all(stream, raw_bytes(row), f"{entry.file}: {name}")
                into[index] = row


class ShardWriter:
    """Writes shards with the layout of another checkpoint and some tensors replaced.

    Headers are copied byte by byte, so names, types, order and metadata are those of the source.
    Use as a context manager; a normal exit checks that every announced tensor was written.

    Args:
        source: The checkpoint whose layout is used.
        folder: Folder for the new shards.
        replaced: Names of the tensors that :meth:`write` will provide; all others are copied.
        done: Those among them that are already in ``folder``.
    """

    def __init__(
        self,
        source: Checkpoint,
        folder: Path,
        replaced: Collection[str],
        done: Collection[str] = (),
    ) -> None:
        self._source = source
        self._missing = set(replaced)
        self._streams: dict[str, BinaryIO] = {}
        for file in source.files:
            self._streams[file] = self._begin(file, folder / file)
        self._missing -= set(done)

    def write(self, name: str, value: Tensor) -> str:
        """Write one tensor at its place in the shard, in the source's type."""
        entry = self._source.entries[name]
        if tuple(value.shape) != entry.shape or name not in self._missing:
            raise ValueError(f"{name} is {entry.shape} and expected once, got {tuple(value.shape)}")
        stored = value.detach().to("cpu", entry.dtype).contiguous()
        stream = self._streams[entry.file]
        stream.seek(entry.start)
        write_all(stream, raw_bytes(stored))
        self._missing.discard(name)
        return hashlib.sha256(raw_bytes(stored)).hexdigest()

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for stream in self._streams.values():
            if kind is None:
                stream.flush()
                os.fsync(stream.fileno())
            stream.close()
        if kind is None and self._missing:
            raise AutopruneError(f"{len(self._missing)} pruned tensors were never written")

    def _begin(self, file: str, target: Path) -> BinaryIO:
        kept = [
            e
            for e in self._source.entries.values()
            if e.file == file and e.name not in self._missing
        ]
        path = self._source.folder / file
        out = target.open("r+b" if target.exists() else "wb", buffering=0)
        with _reading(path):
            source = path.open("rb", buffering=0)
        with source as stream:
            with _reading(path):
                length = _header_length(path, stream)
            _copy(stream, out, 0, _LENGTH_BYTES + length)
            for entry in kept:
                _copy(stream, out, entry.start, entry.stop)
        out.truncate(path.stat().st_size)
        return out


def count_zeros(checkpoint: Checkpoint, names: Collection[str]) -> tuple[int, int, int]:
    """Count zeros in the shards on disk, with one tensor in memory at a time."""
    zeros = prunable = 0
    for name in names:
        value = checkpoint.read(name)
        prunable += value.numel()
        zeros += value.numel() - int(torch.count_nonzero(value))
    return zeros, prunable, sum(entry.numel for entry in checkpoint.entries.values())


def _shard_names(folder: Path) -> list[str]:
    """The files that transformers reads, in its order: it takes a single file over an index."""
    index = folder / INDEX_FILE
    if (folder / SINGLE_FILE).is_file():
        return [SINGLE_FILE]
    if index.is_file():
        try:
            places = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise DamagedFileError(f"{index} is damaged ({error}); get it again") from error
        # Shards are also written under these names, so check them.
        names = sorted({plain_name(place, index) for place in places})
    else:
        raise UsageError(
            f"{folder} holds no {SINGLE_FILE} and no {INDEX_FILE}; streaming reads safetensors "
            "shards, so open the model once and save it with save_pretrained, or prune it "
            "in memory"
        )
    for name in names:
        if not (folder / name).is_file():
            raise DamagedFileError(f"{folder} lacks the shard {name}; get the checkpoint again")
    return names


def _entries(path: Path) -> Iterator[TensorLocation]:
    with path.open("rb", buffering=0) as stream:
        length = _header_length(path, stream)
        try:
            header: dict[str, Any] = json.loads(stream.read(length))
            for name, what in header.items():
                if name == "__metadata__":
                    continue
                start, stop = (_LENGTH_BYTES + length + at for at in what["data_offsets"])
                if stop > path.stat().st_size:
                    raise ValueError(f"{name} reaches past the end of the file")
                shape = tuple(what["shape"])
                yield TensorLocation(name, path.name, what["dtype"], shape, start, stop)
        except (ValueError, KeyError, TypeError) as error:
            raise DamagedFileError(
                f"{path} is not a readable safetensors file ({error}); get it again"
            ) from error


def _header_length(path: Path, stream: Any) -> int:
    length = int.from_bytes(stream.read(_LENGTH_BYTES), "little")
    if not 2 <= length <= min(_LONGEST_HEADER, path.stat().st_size - _LENGTH_BYTES):
        raise DamagedFileError(f"{path} is not a readable safetensors file; get it again")
    return length


def raw_bytes(value: Tensor) -> memoryview:
    """The bytes of a contiguous tensor on the CPU; viewed as uint8, since numpy has no bfloat16."""
    flat = value.reshape(-1)
    data: Any = flat.view(torch.uint8).numpy() if flat.numel() else b""
    return memoryview(data)


def read_all(stream: Any, raw: memoryview, what: str) -> None:
    """Fill ``raw`` from an unbuffered stream, which may return less than requested per read."""
    done = 0
    while done < len(raw):
        count = stream.readinto(raw[done:])
        if not count:
            raise DamagedFileError(f"{what} ends early; get it again")
        done += count


def write_all(stream: Any, raw: memoryview | bytes) -> None:
    """Write everything; a single system call writes at most 2 GB."""
    left = memoryview(raw)
    while left:
        left = left[stream.write(left) :]


@contextmanager
def _reading(path: Path | str) -> Iterator[None]:
    """Name the shard that the system refuses to read; around it, an OSError is a failed write."""
    try:
        yield
    except OSError as error:
        raise AutopruneError(
            f"could not read {path} ({error.strerror or error}); check the disk and that the file "
            "is still there, then run the command again"
        ) from error


def _copy(source: Any, target: Any, start: int, stop: int) -> None:
    source.seek(start)
    target.seek(start)
    left = stop - start
    while left:
        with _reading(source.name):
            chunk = source.read(min(CHUNK_BYTES, left))
        if not chunk:
            raise DamagedFileError(f"{source.name} ends early; get it again")
        write_all(target, chunk)
        left -= len(chunk)
