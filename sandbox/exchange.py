"""The two host paths a container sees: its own input folder and its own result file.

The input folder is empty until a job comes; then the job's layers, and no others, are hard-linked
into it under random names: no copy, and a candidate cannot read what its job did not list. The
result file lies in memory (``/dev/shm`` where there is one). The broker opens it for writing
while it is open to all; from then on nobody inside can open it again, so one run cannot read what
another wrote.
"""

import contextlib
import errno
import os
import secrets
import shutil
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from sandbox.errors import SandboxBroken

_SHARED_MEMORY = Path("/dev/shm")
_REUSED_BYTES = 1 << 30
OWNER_FILE = "owner"


class Workspace:
    """All host folders of one sandbox; removed when it closes.

    Args:
        inputs: Folder of the layer files; links need to be on its file system.
        owner: Who is alive while this is in use (see ``ownership``).
    """

    def __init__(self, inputs: Path, owner: str) -> None:
        self.links = _make_folder(inputs, owner)
        memory = _SHARED_MEMORY if os.access(_SHARED_MEMORY, os.W_OK) else None
        self.results = _make_folder(memory or Path(tempfile.gettempdir()), owner)
        self._spare: list[tuple[Path, int]] = []
        self._lock = threading.Lock()

    def take_result(self) -> tuple[Path, int]:
        """An all-zero result file and its descriptor; a used one where there is one.

        The descriptor is kept open: what is read later is this file, whatever its path says.
        """
        with self._lock:
            if self._spare:
                return self._spare.pop()
        path = self.results / secrets.token_hex(8)
        return path, os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def return_result(self, path: Path, fd: int, *, used: int, reusable: bool) -> None:
        """Take a result file back.

        Pages cost more to get than to clear, so files of moderate size are cleared and used
        again; cleared, because nobody may pass off what another candidate computed.
        """
        with contextlib.suppress(OSError):
            if reusable and os.fstat(fd).st_size <= _REUSED_BYTES:
                # Never beyond what is there: clearing must not take memory of its own.
                end = min(used, os.fstat(fd).st_size)
                zeros = bytes(1 << 20)
                for position in range(0, end, len(zeros)):
                    os.pwrite(fd, zeros[: end - position], position)
                with self._lock:
                    self._spare.append((path, fd))
                return
        os.close(fd)
        path.unlink(missing_ok=True)

    def close(self) -> None:
        """Remove everything."""
        for _, fd in self._spare:
            os.close(fd)
        for folder in (self.links, self.results):
            shutil.rmtree(folder, ignore_errors=True)


class Exchange:
    """Input folder and result file of one container."""

    def __init__(self, workspace: Workspace) -> None:
        name = secrets.token_hex(8)
        self.inputs = workspace.links / name
        self.inputs.mkdir(mode=0o755)
        self.inputs.chmod(0o755)
        self._workspace = workspace
        self.result, self._fd = workspace.take_result()
        self._used = 0
        os.fchmod(self._fd, 0o666)

    def lock(self) -> None:
        """Shut the result file to everyone who does not hold it open."""
        os.fchmod(self._fd, 0o600)

    def prepare(self, files: Sequence[Path], result_bytes: int) -> list[str]:
        """Show the job's files and make room for its result.

        Args:
            files: Layer files; the same file may come twice.
            result_bytes: Exact size of all results.

        Returns:
            Their names inside the container's input folder.

        Raises:
            SandboxBroken: If there is no room, or a file cannot be read.
        """
        names: dict[Path, str] = {}
        try:
            for file in files:
                if file not in names:
                    names[file] = secrets.token_hex(16)
                    _show(file, self.inputs / names[file])
            self._make_room(result_bytes)
            self._used = result_bytes
        except OSError as error:
            os.ftruncate(self._fd, 0)
            raise SandboxBroken(
                f"could not hand over the layers ({error}); "
                f"{result_bytes >> 20} MiB of shared memory hold the scores; free some, or score "
                "fewer layers at a time, and run the same command again"
            ) from error
        return [names[file] for file in files]

    def _make_room(self, result_bytes: int) -> None:
        missing = result_bytes - os.fstat(self._fd).st_blocks * 512
        if missing <= 0:
            return
        # Asked before it is taken: a tmpfs may promise more than the machine has memory, and
        # allocating up to that promise ends with the kernel killing whoever is largest.
        if missing > _free_bytes(self.result.parent):
            raise OSError(errno.ENOSPC, f"{missing >> 20} MiB are more than the machine has free")
        os.posix_fallocate(self._fd, 0, result_bytes)

    def read_into(self, buffer: memoryview, offset: int) -> bool:
        """Fill ``buffer`` from the result file; False when the file has become too short."""
        position = 0
        while position < len(buffer):
            count = os.preadv(self._fd, [buffer[position:]], offset + position)
            if count == 0:
                return False
            position += count
        return True

    def close(self, *, container_gone: bool) -> None:
        """Remove the folder and give the file back; a container that lives on may still write."""
        self._workspace.return_result(
            self.result, self._fd, used=self._used, reusable=container_gone
        )
        shutil.rmtree(self.inputs, ignore_errors=True)


def remove_abandoned(root: Path, is_abandoned: Callable[[str], bool]) -> int:
    """Remove workspaces under ``root`` whose owner is gone; returns how many."""
    removed = 0
    for folder in [*root.glob(f"{_PREFIX}*")]:
        try:
            owner = (folder / OWNER_FILE).read_text(encoding="utf-8")
        except OSError:
            continue
        if is_abandoned(owner):
            shutil.rmtree(folder, ignore_errors=True)
            removed += 1
    return removed


def workspace_roots(inputs: Path) -> list[Path]:
    """Where workspaces may lie."""
    return [inputs, _SHARED_MEMORY, Path(tempfile.gettempdir())]


_PREFIX = ".autoprune-cells-"


def _make_folder(root: Path, owner: str) -> Path:
    try:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=root))
    except OSError:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    (folder / OWNER_FILE).write_text(owner, encoding="utf-8")
    return folder


def _free_bytes(folder: Path) -> int:
    """Bytes that a file in ``folder`` may take; for a folder in memory, what is free of both."""
    room = os.statvfs(folder)
    free = room.f_bavail * room.f_frsize
    meminfo = Path("/proc/meminfo")
    if _SHARED_MEMORY in folder.parents and meminfo.exists():
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        free = min(free, int(lines["MemAvailable"].split()[0]) * 1024 * 3 // 4)
    return free


def _show(source: Path, target: Path) -> None:
    readable = source.stat().st_mode & 0o004
    if readable:
        with contextlib.suppress(OSError):
            os.link(source.resolve(), target)
            return
    shutil.copyfile(source, target)
    target.chmod(0o444)
