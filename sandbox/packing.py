"""Deterministic archives: the same files give the same bytes on any machine at any time."""

import importlib.util
import io
import marshal
import re
import tarfile
from pathlib import Path
from types import CodeType

_SKIPPED_FOLDERS = frozenset(
    {
        "__pycache__", "site-packages", "dist-packages", "test", "tests", "idlelib", "tkinter",
        "turtledemo", "ensurepip", "lib2to3", "pydoc_data", "venv", "include", "share",
    }
)  # fmt: skip
_SKIPPED_SUFFIXES = (".pyi", ".a", ".pyc", ".h", ".hpp", ".cuh", ".cmake", ".o")
# torch looks for its other program when it is imported.
_SKIPPED_NAMES = re.compile(r"config-.*|protoc(-[0-9.]+)?")
_UNCHECKED_HASH = (1).to_bytes(4, "little") + bytes(8)


def add_tree(archive: tarfile.TarFile, source: Path, target: str) -> None:
    """Add a file or folder, sorted, without tests, headers, tools and owners.

    Each Python file gets its bytecode next to it, in the form that is not checked against the
    file's time: times are all zero here, and without bytecode every container would compile torch.
    """
    if source.name.endswith(_SKIPPED_SUFFIXES):
        return
    name = target.lstrip("/")
    if not source.is_dir():
        _add_file(archive, source, name)
        return
    add_folder(archive, name)
    for path in sorted(source.iterdir()):
        if path.is_dir() and path.name in _SKIPPED_FOLDERS:
            continue
        if _SKIPPED_NAMES.fullmatch(path.name):
            continue
        if path.is_dir() or path.is_file():
            add_tree(archive, path, f"{name}/{path.name}")


def add_folder(archive: tarfile.TarFile, name: str) -> None:
    """Add one folder entry, mode 0755, owner root."""
    info = tarfile.TarInfo(name)
    info.type = tarfile.DIRTYPE
    info.mode = 0o755
    archive.addfile(info)


def add_bytes(archive: tarfile.TarFile, name: str, data: bytes, *, mode: int = 0o644) -> None:
    """Add one file from memory, owner root, time zero."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    info.mode = mode
    archive.addfile(info, io.BytesIO(data))


def _add_file(archive: tarfile.TarFile, path: Path, name: str) -> None:
    info = tarfile.TarInfo(name)
    info.size = path.stat().st_size
    # Programs keep their x bit; set-user-id bits are never kept.
    info.mode = 0o555 if path.stat().st_mode & 0o100 else 0o444
    with path.open("rb") as stream:
        archive.addfile(info, stream)
    if path.suffix == ".py":
        folder, _, file = name.rpartition("/")
        cached = f"{folder}/__pycache__/{Path(importlib.util.cache_from_source(file)).name}"
        try:
            code: CodeType = compile(
                path.read_bytes(), "/" + name, "exec", dont_inherit=True, optimize=0
            )
        except (SyntaxError, ValueError):
            return
        add_bytes(archive, cached, _bytecode(code), mode=0o444)


def _bytecode(code: CodeType) -> bytes:
    return importlib.util.MAGIC_NUMBER + _UNCHECKED_HASH + marshal.dumps(code)
