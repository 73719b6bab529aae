"""Files that scores are written to: made ahead, given to one container, reused once cleared.

They are in memory (``/dev/shm`` where it exists) and belong to the host; a container holds one
open for writing only. Large results are not copied out: the host maps the file once every process
that could write to it is gone. An earlier mapping would not be safe: truncating a mapped file
kills the process that reads it.
"""

import contextlib
import errno
import mmap
import os
import secrets
import weakref
from collections import deque
from pathlib import Path

import numpy as np

from sandbox.verdicts import Scores

SHARED_MEMORY = Path("/dev/shm")
_REUSED_BYTES = 1 << 30
MIB = 1 << 20


class ResultFile:
    """One file, whose descriptor stays open so that no other file can be read in its place.

    Args:
        path: Its path.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._used = 0
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._fd = os.open(path, flags, 0o600)

    @property
    def size(self) -> int:
        """Size in bytes."""
        return os.fstat(self._fd).st_size

    def open_to_all(self) -> None:
        """Let the broker open it; see :meth:`lock`."""
        os.fchmod(self._fd, 0o666)

    def lock(self) -> None:
        """Lock out all processes that do not hold it open."""
        os.fchmod(self._fd, 0o600)

    def make_room(self, size: int) -> None:
        """Allocate ``size`` bytes."""
        now = os.fstat(self._fd)
        missing = size - now.st_blocks * 512
        # Blocks may remain past a truncated end, and the length would tell the next user of it.
        if missing > 0 or now.st_size < size:
            # Check before allocating: a tmpfs may promise more memory than the machine has, and
            # allocating that much makes the kernel kill the largest process.
            if missing > free_bytes(self.path.parent):
                text = f"{missing >> 20} MiB are more than the machine has free"
                raise OSError(errno.ENOSPC, text)
            try:
                os.posix_fallocate(self._fd, 0, size)
            except OSError:
                os.ftruncate(self._fd, 0)
                raise
        self._used = max(self._used, size)

    def read(self, count: int) -> Scores | None:
        """Copy of the first ``count`` scores; None if the file has become too short."""
        scores = np.empty(count, np.float32)
        buffer = memoryview(scores.data).cast("B")
        position = 0
        while position < len(buffer):
            got = os.preadv(self._fd, [buffer[position:]], position)
            if got == 0:
                return None
            position += got
        return scores

    def map(self, count: int) -> tuple[Scores, mmap.mmap | None] | None:
        """The first scores in place, as private pages: changing them does not change the file.

        Safe only once nothing else can write to or truncate the file. A file with a hole is
        copied: reading a hole allocates a page, and if none is left the read kills this process
        (SIGBUS). None if the file is too short.
        """
        if os.fstat(self._fd).st_size < 4 * count:
            return None
        if os.lseek(self._fd, 0, os.SEEK_HOLE) < 4 * count:
            scores = self.read(count)
            return None if scores is None else (scores, None)
        pages = mmap.mmap(self._fd, 4 * count, access=mmap.ACCESS_COPY)
        return np.frombuffer(pages, np.float32), pages

    def clear(self) -> bool:
        """Fill with zeros; False if the file is too large to be worth it."""
        end = min(self._used, os.fstat(self._fd).st_size)
        if end > _REUSED_BYTES:
            return False
        zeros = bytes(1 << 20)
        for position in range(0, end, len(zeros)):
            os.pwrite(self._fd, zeros[: end - position], position)
        self._used = 0
        return True

    def discard(self) -> None:
        """Close and remove."""
        os.close(self._fd)
        self.path.unlink(missing_ok=True)


class ResultFiles:
    """All result files of one sandbox.

    Pages cost more to get than to clear, so files are reused. They are cleared so that no
    candidate can pass off what another one computed.

    Args:
        folder: Where they are; removed by its owner.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # No lock: a mapping ends wherever its last array does, possibly in the middle of this.
        self._returned: deque[ResultFile] = deque()
        self._closed = False
        self._usual = 0

    def take(self) -> ResultFile:
        """A file of zeros, with room for as much as the last job needed."""
        usual = self._usual
        file = self._used_one(usual) or ResultFile(self._folder / secrets.token_hex(8))
        with contextlib.suppress(OSError):
            file.make_room(usual)
        return file

    def expect(self, size: int) -> None:
        """Keep room for this many bytes ready from now on."""
        self._usual = size

    def give_back(self, file: ResultFile, *, reusable: bool) -> None:
        """Take a file back; not reusable when someone may still write to it."""
        if reusable and not self._closed:
            self._returned.append(file)
        else:
            file.discard()

    def lend(self, file: ResultFile, pages: mmap.mmap) -> None:
        """Lend the file, which comes back by itself when the last array on ``pages`` is gone."""
        weakref.finalize(pages, self.give_back, file, reusable=True).atexit = False

    def close(self) -> None:
        """Close the files that are here; a lent file stays readable to its holder."""
        self._closed = True
        while self._returned:
            self._returned.pop().discard()

    def _used_one(self, size: int) -> ResultFile | None:
        with contextlib.suppress(IndexError):
            file = self._returned.popleft()
            if (file.size < MIB) != (size < MIB) and self._returned:
                # A large file for a small result would be cleared for nothing.
                self._returned.append(file)
                file = self._returned.popleft()
            with contextlib.suppress(OSError):
                if file.clear():
                    return file
            file.discard()
        return None


def free_bytes(folder: Path) -> int:
    """Bytes that a file in ``folder`` may take; in a memory folder, limited by free memory too."""
    room = os.statvfs(folder)
    free = room.f_bavail * room.f_frsize
    meminfo = Path("/proc/meminfo")
    if SHARED_MEMORY in folder.parents and meminfo.exists():
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        free = min(free, int(lines["MemAvailable"].split()[0]) * 1024 * 3 // 4)
    return free
