"""Atomic writes: a reader sees the old content or the new, never half of it."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from autoprune.errors import AutopruneError, DamagedFileError


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it into place on success.

    Raises:
        AutopruneError: If the disk is full or the folder is not writable; nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The suffix survives, because some writers choose their format by it.
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise _write_error(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``path``; swap it into place on success.

    What lay there comes back when the swap fails.

    Raises:
        AutopruneError: If the disk is full or the folder is not writable; nothing is left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}-"))
    try:
        yield temporary
        temporary.chmod(0o755)
        _swap(temporary, path)
    except OSError as error:
        raise _write_error(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _swap(new: Path, path: Path) -> None:
    if not path.exists():
        new.rename(path)
        return
    displaced = new.with_name(new.name + "-old")
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
    shutil.rmtree(displaced, ignore_errors=True)


def plain_name(name: object, record: Path) -> str:
    """A file name that a record holds, which must not lead outside its folder.

    Args:
        name: What the record says.
        record: The file that says so, for the message.

    Raises:
        DamagedFileError: If it is anything but the name of a file beside the record.
    """
    if not isinstance(name, str) or name in ("", "..") or Path(name).name != name:
        raise DamagedFileError(
            f"{name!r} in {record} is not a plain file name; a file beside it was expected, so "
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


def _write_error(path: Path, error: OSError) -> AutopruneError:
    return AutopruneError(
        f"could not write {path} ({error.strerror or error}); nothing was changed there; "
        "free some space or choose another folder, then run the command again"
    )
