"""Where results may be written: to a free place, or over files the user agreed to overwrite."""

import os
from collections.abc import Iterable
from pathlib import Path

from autoprune.errors import UsageError
from autoprune.storage import probe_folder

# Present in every folder written by AutoPrune or by `save_pretrained`.
_MODEL_FILE = "config.json"
# How a user of the command line allows a replacement, for messages.
OPTION = "add --overwrite"


def check_folder(
    target: Path,
    *,
    sources: Iterable[Path] = (),
    overwrite: bool = False,
    allow: str | None = OPTION,
    marker: str = _MODEL_FILE,
    what: str = "saved model",
) -> None:
    """Refuse a folder that is not free, before anything is computed for it."""
    check_apart(target, sources)
    if target.exists() and not target.is_dir():
        raise UsageError(f"{target} is a file; name a folder for the model")
    place = target.resolve()
    if place == Path.cwd() or os.path.ismount(place):
        what_it_is = "the current folder" if place == Path.cwd() else "a mount point"
        raise UsageError(
            f"{target} is {what_it_is}, which cannot be replaced as a whole; name a folder inside "
            f"it, such as {target / 'model'}"
        )
    try:
        # It appears by a rename, next to what may be there.
        probe_folder(place.parent)
    except OSError as error:
        raise UsageError(
            f"the folder {target} cannot be written ({error.strerror}); name another one"
        ) from error
    if not target.is_dir() or not any(target.iterdir()):
        return
    if not (target / marker).is_file():
        raise UsageError(
            f"the folder {target} is not empty and holds no {what}, and saving would replace "
            "it; name another folder"
        )
    if not overwrite:
        way = f", or {allow} to replace it with every file in it" if allow else ""
        raise UsageError(f"the folder {target} holds a {what}; name another folder{way}")


def check_file(
    target: Path,
    *,
    sources: Iterable[Path] = (),
    overwrite: bool = False,
    allow: str = OPTION,
) -> None:
    """Refuse a file that is not free; see :func:`check_folder`."""
    check_apart(target, sources)
    if target.is_dir():
        raise UsageError(f"{target} is a folder; name a file in it")
    if not overwrite and os.path.lexists(target):
        raise UsageError(f"the file {target} exists; name another file, or {allow} to replace it")


def check_apart(target: Path, sources: Iterable[Path], *, may_hold: bool = False) -> None:
    """Refuse a target that is, lies in or contains a source, comparing paths and inodes."""
    ours = _lineage(target)
    for source in sources:
        if not source.exists():
            continue
        theirs = _lineage(source)
        if _same(ours[0], theirs[0]):
            problem = "is the source itself"
        elif any(_same(above, theirs[0]) for above in ours[1:]):
            problem = f"lies in the source {source}"
        elif not may_hold and any(_same(ours[0], above) for above in theirs[1:]):
            problem = f"holds the source {source}"
        else:
            continue
        raise UsageError(f"{target} {problem}, which is never written over; name another place")


def _lineage(path: Path) -> list[Path]:
    whole = path.expanduser().resolve()
    return [whole, *whole.parents]


def _same(one: Path, two: Path) -> bool:
    """Whether two paths lead to the same place, including by links and mounts."""
    if one == two:
        return True
    try:
        return one.samefile(two)
    except OSError:
        return False
