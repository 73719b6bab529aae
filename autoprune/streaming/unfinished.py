"""Progress of an unfinished run, kept next to its target so that the run can resume."""

import fcntl
import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from autoprune.errors import DamagedFileError, UsageError
from autoprune.storage import swap_folder, write_error, write_json
from autoprune.streaming.hidden import HiddenFile, TensorPlaces, scratch
from autoprune.streaming.shards import Checkpoint, raw_bytes

_RECORD, _LOCK = "progress.json", "lock"


@dataclass(frozen=True)
class DoneBlock:
    """A block that is pruned and written.

    Args:
        masks: Digest of the mask per layer.
        zeros: Pruned weights per layer.
        notes: Fallbacks that happened.
        tensors: SHA-256 of the written bytes, per tensor of the checkpoint.
    """

    masks: dict[str, str]
    zeros: dict[str, int]
    notes: list[str]
    tensors: dict[str, str]


@dataclass
class Unfinished:
    """A run and its progress; see :func:`unfinished`.

    Args:
        folder: Folder of the run.
        key: Identifies everything that determines the result.
        device: Device for hidden states.

    Attributes:
        quotas: Zeros per layer, once known.
        blocks: Finished blocks.
        notes: Whether another run was discarded.
    """

    folder: Path
    key: str
    device: torch.device
    quotas: dict[str, int] | None = None
    blocks: list[DoneBlock] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    _kept: dict[str, HiddenFile] = field(default_factory=dict)
    _stack: ExitStack = field(default_factory=ExitStack)

    @property
    def model(self) -> Path:
        """The folder that becomes the target."""
        return self.folder / "model"

    def states(self, name: str) -> HiddenFile:
        """Hidden states that are kept from block to block."""
        if name not in self._kept:
            self._kept[name] = self._open(name)
        return self._kept[name]

    def room(self, name: str) -> HiddenFile:
        """Storage of states for block tuning; its targets are needed for one block only."""
        return self.states(name) if name == "dense" else self.scratch()

    def scratch(self) -> HiddenFile:
        """Storage of states that are not needed after the run."""
        return scratch(self.folder, self.device, self._stack)

    def keep(self) -> None:
        """Record the progress so far, atomically.

        Only this record is flushed: a kill loses nothing already written, and data lost in a power
        cut is detected by its digest.
        """
        states = {name: [asdict(slot) for slot in file.keep()] for name, file in self._kept.items()}
        blocks = [asdict(block) for block in self.blocks]
        record = {"key": self.key, "quotas": self.quotas, "blocks": blocks, "states": states}
        write_json(self.folder / _RECORD, record)

    def load(self, record: dict[str, Any]) -> None:
        """Take over what :meth:`keep` wrote."""
        blocks = [DoneBlock(**block) for block in record["blocks"]]
        written = Checkpoint(self.model) if blocks else None
        for name, digest in ((n, d) for block in blocks for n, d in block.tensors.items()):
            value = written.read(name) if written else torch.empty(0)
            if hashlib.sha256(raw_bytes(value)).hexdigest() != digest:
                raise DamagedFileError(f"{name} in {self.model} is not what was written")
        for name, slots in record["states"].items():
            self._kept[name] = self._open(name, [TensorPlaces(**slot) for slot in slots])
        self.quotas, self.blocks = record["quotas"], blocks

    def start_anew(self) -> None:
        """Discard all progress."""
        self._stack.close()
        self.quotas, self.blocks, self._kept = None, [], {}
        self.keep()

    def sweep(self) -> None:
        """Remove all files except the record and the lock."""
        for path in self.folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name not in (_RECORD, _LOCK):
                path.unlink()

    def close(self) -> None:
        """Close the files."""
        self._stack.close()

    def _open(self, name: str, slots: list[TensorPlaces] | None = None) -> HiddenFile:
        mode = "w+b" if slots is None else "r+b"
        file = self._stack.enter_context((self.folder / name).open(mode, buffering=0))
        return HiddenFile(file, self.device, slots or ())


def partial_folder(target: Path) -> Path:
    """Folder of a target's unfinished run."""
    target = target.resolve() if target.is_symlink() else target.absolute()
    return target.with_name(f"{target.name}.partial")


@contextmanager
def unfinished(target: Path, key: str, device: torch.device) -> Iterator[Unfinished]:
    """Open a run that resumes where the last one with the same key ended, for whatever reason.

    It lives in ``TARGET.partial``. On success its ``model`` becomes the target and the rest is
    deleted; after an error it is kept if a block is done, or if the error came before the last
    run's progress was read.
    """
    work = Unfinished(partial_folder(target), key, device)
    through = False
    try:
        _check_ours(work.folder)
        work.folder.mkdir(parents=True, exist_ok=True)
        with _lock(work.folder):
            unread = (work.folder / _RECORD).exists()
            try:
                _take_over(work)
                unread = False
                yield work
                swap_folder(work.model, target)
                through = True
            finally:
                work.close()
                if through or not (work.blocks or unread):
                    shutil.rmtree(work.folder, ignore_errors=True)
    except OSError as error:
        raise write_error(target, error) from error


def _check_ours(folder: Path) -> None:
    found = {path.name for path in folder.iterdir()} if folder.exists() else set[str]()
    # A kill may have left the first record unfinished.
    if _RECORD not in found and any(not name.startswith((_LOCK, ".progress-")) for name in found):
        raise UsageError(
            f"{folder}, where an unfinished run is kept, holds something else; move it away, or "
            "name another folder to write"
        )


def _take_over(work: Unfinished) -> None:
    """Load the progress of an earlier run; discard it if damaged or from another run."""
    path = work.folder / _RECORD
    try:
        record = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
        if record is not None and record["key"] == work.key:
            work.load(record)
        elif record is not None:
            raise UsageError("another run")
    except (DamagedFileError, UsageError, FileNotFoundError, ValueError, KeyError, TypeError):
        work.notes.append(f"{work.folder} held another or a damaged run; this one started over")
        work.start_anew()
    if not work.blocks:
        work.sweep()
    work.model.mkdir(exist_ok=True)
    work.keep()


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    with (folder / _LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(
                f"another process works in {folder}; wait for it, or name another folder"
            ) from error
        except OSError:
            pass  # some network file systems do not support locks
        yield
