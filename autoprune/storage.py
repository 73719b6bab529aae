"""Atomic writes: a reader sees either the old content or the new, never a mix."""

import ctypes
import errno
import fcntl
import glob
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from autoprune.errors import AutopruneError, DamagedFileError

# Of linux/fcntl.h and linux/fs.h.
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


@contextmanager
def atomic_file(path: Path, *, large: bool = False) -> Iterator[Path]:
    """Yield a temporary path next to ``path``; rename it into place on success."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if large:
            _remove_unlocked(path, path.stem, path.suffix)
        # Keep the suffix, because some writers choose their format by it.
        handle, name = tempfile.mkstemp(path.suffix, _prefix(path.stem), path.parent)
        temporary = Path(name)
        try:
            _lock(handle)
            yield temporary
            with temporary.open("rb") as stream:
                os.fsync(stream.fileno())
            temporary.chmod(0o644)
            temporary.replace(path)
        finally:
            os.close(handle)
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise write_error(path, error) from error


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder next to ``path``; swap it into place on success.

    Its content is flushed to disk before the rename, and the old folder is deleted only afterwards,
    so neither a kill nor a power cut leaves an empty file under ``path``. If the swap fails, the
    old folder is restored. If ``path`` is a link, the link stays and its target is replaced. What
    killed processes left next to ``path`` is removed first.
    """
    path = path.resolve() if path.is_symlink() else path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=_prefix(path.name)))
        handle = os.open(temporary, os.O_RDONLY)
        try:
            _lock(handle)
            yield temporary
            swap_folder(temporary, path)
        finally:
            os.close(handle)
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise write_error(path, error) from error


def remove_leftovers(path: Path) -> None:
    """Remove the temporary folders of killed processes that were writing the folder ``path``.

    A process that is still writing holds a lock on its own.
    """
    path = path.resolve() if path.is_symlink() else path
    _remove_unlocked(path, path.name)


def _remove_unlocked(path: Path, name: str, suffix: str = "") -> None:
    """Remove what was written next to ``path`` under a temporary name and has no lock."""
    # tempfile adds eight characters.
    for left in path.parent.glob(f"{glob.escape(_prefix(name))}{'?' * 8}{glob.escape(suffix)}"):
        with suppress(OSError):
            handle = os.open(left, os.O_RDONLY)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # An empty one may be new and not locked yet.
                if left.is_file() and left.stat().st_size:
                    left.unlink()
                elif left.is_dir() and any(left.iterdir()):
                    shutil.rmtree(left, ignore_errors=True)
            finally:
                os.close(handle)


def _lock(handle: int) -> None:
    # Some network file systems have no locks; leftovers then stay.
    with suppress(OSError):
        fcntl.flock(handle, fcntl.LOCK_EX)


def _prefix(name: str) -> str:
    return f".{name}.saving-"


def swap_folder(new: Path, path: Path) -> None:
    """Move a folder next to ``path`` to ``path``; see :func:`atomic_folder`."""
    path = path.resolve() if path.is_symlink() else path
    new.chmod(0o755)
    _flush_tree(new)
    _swap(new, path)


def _swap(new: Path, path: Path) -> None:
    if not path.exists():
        new.rename(path)
        _flush(path.parent)
        return
    displaced = new
    if not _exchange(new, path):
        displaced = new.with_name(new.name + "-old")
        _replace_by_two_renames(new, path, displaced)
    _flush(path.parent)
    shutil.rmtree(displaced, ignore_errors=True)


def _exchange(one: Path, two: Path) -> bool:
    """Swap the names of two folders in one step; False if the system cannot."""
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    names = (os.fsencode(one), os.fsencode(two))
    if call(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
        return False
    raise OSError(number, os.strerror(number), str(two))


def _replace_by_two_renames(new: Path, path: Path, displaced: Path) -> None:
    path.rename(displaced)
    try:
        new.rename(path)
    except BaseException as error:
        try:
            displaced.rename(path)
        except OSError:
            raise AutopruneError(
                f"could not write {path} ({error}); what lay there is in {displaced} now; move it "
                "back by hand"
            ) from error
        raise


def _flush_tree(folder: Path) -> None:
    for place, _, files in os.walk(folder):
        for name in files:
            if not (Path(place) / name).is_symlink():
                _flush(Path(place) / name)
        _flush(Path(place))


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        # Some network file systems cannot flush folders.
        if error.errno != errno.EINVAL or not path.is_dir():
            raise
    finally:
        os.close(handle)


def share_file(one: Path, other: Path) -> None:
    """Make two equal files share storage on disk, if the file system supports it.

    Only for files that are always replaced as a whole, never modified in place.
    """
    new = other.with_name(f".{other.name}.shared")
    new.unlink(missing_ok=True)
    try:
        os.link(one, new)
        new.replace(other)
    except OSError:
        new.unlink(missing_ok=True)


def plain_name(name: object, record: Path) -> str:
    """Return a recorded file name, checked not to lead outside the record's folder."""
    if not isinstance(name, str) or name in ("", "..") or Path(name).name != name:
        raise DamagedFileError(
            f"{name!r} in {record} is not a plain file name; a file next to it was expected, so "
            "take the folder from a source that you trust"
        )
    return name


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8, atomically."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON, atomically."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object from a file."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DamagedFileError(f"{path} is not JSON ({error}); delete it and run again") from error
    if not isinstance(value, dict):
        raise DamagedFileError(f"{path} holds no JSON object; delete it and run again")
    return value


def nearest_folder(path: Path) -> Path:
    """The path, if there is something, or the nearest folder above it that exists."""
    path = path.absolute()
    return next(place for place in (path, *path.parents) if place.exists())


def probe_folder(folder: Path) -> None:
    """Write into a folder, or the nearest one above it that exists, and leave nothing there.

    Permissions alone say too much to the superuser, and in ``/proc``.
    """
    with tempfile.TemporaryDirectory(dir=nearest_folder(folder)):
        pass


def write_error(path: Path, error: OSError) -> AutopruneError:
    """The error for a write that the system refused, with advice."""
    return AutopruneError(
        f"could not write {path} ({error.strerror or error}); nothing was changed there; "
        "free some space or choose another folder, then run the command again"
    )


def is_file(path: Path) -> bool:
    """Whether a file is there; words that are too long for a file's name are none."""
    try:
        return path.is_file()
    except OSError:
        return False
