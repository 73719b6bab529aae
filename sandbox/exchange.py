"""The host paths a container sees: its own input folder and its own result file.

The input folder is empty until a job comes; then the job's layers, and no others, are hard-linked
into it under random names: nothing is copied, and a candidate cannot read what its job did not
list. The broker opens the result file for writing while any process may; afterwards no process
inside can open it again. Each run of a candidate has its own container and thus its own file. The
jobs of one program follow each other in both, which are emptied in between.
"""

import contextlib
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from sandbox.errors import SandboxBrokenError
from sandbox.ownership import this_process
from sandbox.result_files import SHARED_MEMORY, ResultFiles
from sandbox.verdicts import Scores

OWNER_FILE = "owner"


class Workspace:
    """All host folders of one sandbox; removed when it closes.

    Args:
        inputs: Folder of the layer files; links need to be on its file system.
        owner: Process that is alive while this is in use (see ``ownership``).
        results: Folder for the result files; by default one in memory, if available.

    Raises:
        SandboxBrokenError: If no folder can be made.
    """

    def __init__(self, inputs: Path, owner: str, results: Path | None = None) -> None:
        memory = SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else None
        root = results or memory or Path(tempfile.gettempdir())
        try:
            self.links = _make_folder(inputs, owner)
            self._results = _make_folder(root, owner)
        except OSError as error:
            raise SandboxBrokenError(
                f"could not make a folder for the layers in {inputs} or {root} ({error}); free "
                "some disk and run the same command again"
            ) from error
        self.files = ResultFiles(self._results)

    def close(self) -> None:
        """Remove everything."""
        self.files.close()
        for folder in (self.links, self._results):
            shutil.rmtree(folder, ignore_errors=True)


class Exchange:
    """Input folder and result file of one container."""

    def __init__(self, workspace: Workspace) -> None:
        self.inputs = workspace.links / secrets.token_hex(8)
        self._pool = workspace.files
        self._lent = False
        try:
            self.inputs.mkdir(mode=0o755)
            self.inputs.chmod(0o755)
            self._file = self._pool.take()
        except OSError as error:
            shutil.rmtree(self.inputs, ignore_errors=True)
            raise SandboxBrokenError(
                f"could not make the folder of a container ({error}); free some disk and run the "
                "same command again"
            ) from error
        self._file.open_to_all()

    @property
    def result(self) -> Path:
        """Path of the result file."""
        return self._file.path

    def lock(self) -> None:
        """Lock out of the result file all processes that do not hold it open."""
        self._file.lock()

    def prepare(self, files: Sequence[Path], result_bytes: int) -> list[str]:
        """Expose the job's files and make room for its result."""
        names: dict[Path, str] = {}
        try:
            for file in files:
                if file not in names:
                    names[file] = secrets.token_hex(16)
                    _show(file, self.inputs / names[file])
            self._file.make_room(result_bytes)
        except OSError as error:
            raise SandboxBrokenError(
                f"could not hand over the layers ({error}); "
                f"{result_bytes >> 20} MiB of shared memory hold the scores; free some, or "
                "score fewer layers at a time, and run the same command again"
            ) from error
        self._pool.expect(result_bytes)
        return [names[file] for file in files]

    def read_result(self, count: int) -> Scores | None:
        """Copy of the first ``count`` scores; None if the file has become too short."""
        return self._file.read(count)

    def map_result(self, count: int) -> Scores | None:
        """The scores in place, once nothing can write to them; None as in ``read_result``."""
        found = self._file.map(count)
        if found is None:
            return None
        scores, pages = found
        if pages is not None:
            self._lent = True
            self._pool.lend(self._file, pages)
        return scores

    def renew(self) -> bool:
        """Take away the inputs and the result of a finished job; False if that is not possible."""
        try:
            for shown in self.inputs.iterdir():
                shown.unlink()
            return not self._lent and self._file.clear()
        except OSError:
            return False

    def close(self, *, container_gone: bool) -> None:
        """Remove the folder and give the file back; a live container may still write to it."""
        if not self._lent:
            self._pool.give_back(self._file, reusable=container_gone)
        shutil.rmtree(self.inputs, ignore_errors=True)


@contextlib.contextmanager
def job_folder(inputs: Path) -> Iterator[Path]:
    """Provide a folder for the input files of one job.

    If this process is killed meanwhile, :func:`remove_abandoned` removes the folder.
    """
    inputs.mkdir(parents=True, exist_ok=True)
    folder = _make_folder(inputs, this_process())
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_abandoned(root: Path, is_abandoned: Callable[[str], bool]) -> int:
    """Remove this user's workspaces under ``root`` whose owner is gone; return how many."""
    removed = 0
    for folder in [*root.glob(f"{_PREFIX}*")]:
        owner = _read_owner(folder)
        if owner is not None and is_abandoned(owner):
            shutil.rmtree(folder, ignore_errors=True)
            removed += 1
    return removed


def workspace_roots(inputs: Path) -> list[Path]:
    """Folders that may hold workspaces."""
    return [inputs, SHARED_MEMORY, Path(tempfile.gettempdir())]


_PREFIX = ".autoprune-cells-"
_OWNER_LENGTH = 1000


def _make_folder(root: Path, owner: str) -> Path:
    try:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=root))
    except OSError:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    (folder / OWNER_FILE).write_text(owner, encoding="utf-8")
    return folder


def _read_owner(folder: Path) -> str | None:
    """Owner of a workspace; None if this user did not create it.

    Anyone can write to the temporary folder: a pipe with the name of the owner's file would block
    the process that opens it for as long as the pipe's creator likes.
    """
    file = folder / OWNER_FILE
    user = os.geteuid()
    try:
        place, info = folder.lstat(), file.lstat()
        if not (stat.S_ISDIR(place.st_mode) and place.st_uid == user):
            return None
        if not (stat.S_ISREG(info.st_mode) and info.st_uid == user):
            return None
        # Nobody else can write into the folder; still, use flags that neither block nor follow.
        fd = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, encoding="utf-8") as stream:
            return stream.read(_OWNER_LENGTH)
    except (OSError, UnicodeDecodeError):
        return None


def _show(source: Path, target: Path) -> None:
    readable = source.stat().st_mode & 0o004
    if readable:
        with contextlib.suppress(OSError):
            # Follows a symbolic link to the file itself.
            os.link(source, target, follow_symlinks=True)
            return
    shutil.copyfile(source, target)
    target.chmod(0o444)
