"""What the container needs of this machine: interpreter, standard library, torch, libraries.

Found by looking, not by guessing: a child interpreter imports what the worker imports and
reports every package folder and every shared library that were loaded. Nothing else goes in; so
there is no package manager, compiler, shell or setuid program inside.
"""

import base64
import importlib.util
import json
import re
import subprocess
import sys
import sysconfig
import zlib
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

from sandbox.engine import HOME
from sandbox.errors import SandboxUnavailableError

_PROBE = r"""
import ctypes, ctypes.util, json, os, sys
sys.path += [path for path in sys.argv[1:] if path not in sys.path]
import numpy, safetensors.torch, torch, torch.nn.functional, torch.linalg, torch.fft
class Info(ctypes.Structure):
    _fields_ = [("address", ctypes.c_void_p), ("name", ctypes.c_char_p)]
names = []
Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(Info), ctypes.c_size_t, ctypes.c_void_p)
def visit(info, size, data):
    names.append((info.contents.name or b"").decode())
    return 0
ctypes.CDLL(None).dl_iterate_phdr(Callback(visit), None)
files = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
files = [file for file in files if file and os.path.isabs(file)]
print(json.dumps({"libraries": names, "files": files}))
"""
_BUILD_TOOLS = frozenset({"setuptools", "pip", "wheel"})


@dataclass(frozen=True)
class Contents:
    """Host paths and where each goes in the container.

    Args:
        folders: Folders, (host path, container path).
        files: Single files, (host path, container path).
        masked: Container folders that must look empty.
    """

    folders: tuple[tuple[str, str], ...]
    files: tuple[tuple[str, str], ...]
    masked: tuple[str, ...]

    @property
    def mounts(self) -> tuple[tuple[str, str], ...]:
        """Folders and files together."""
        return self.folders + self.files

    def to_label(self) -> str:
        """Form that fits an image label."""
        packed = zlib.compress(json.dumps(asdict(self)).encode(), 9)
        # The daemon takes labels in a request line of limited length.
        return base64.urlsafe_b64encode(packed).decode().rstrip("=")

    @classmethod
    def from_label(cls, text: str) -> "Contents":
        """Inverse of :meth:`to_label`."""
        fields = json.loads(zlib.decompress(base64.urlsafe_b64decode(text + "==")))
        return cls(
            folders=tuple((a, b) for a, b in fields["folders"]),
            files=tuple((a, b) for a, b in fields["files"]),
            masked=tuple(fields["masked"]),
        )


def find_contents() -> Contents:
    """Look at the running interpreter; takes a second or two, for it imports torch."""
    # Isolated: neither the current folder nor PYTHONPATH may decide what runs here as this user.
    # Package folders that isolation leaves out (a user's own) come last, where they hide nothing.
    command = [sys.executable, "-I", "-c", _PROBE, *map(str, sorted(_sites()))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise SandboxUnavailableError(
            f"torch, numpy and safetensors must be importable by {sys.executable} ({reason}); "
            "install them, then run the same command again"
        )
    found = json.loads(done.stdout.splitlines()[-1])
    standard = Path(sysconfig.get_path("stdlib")).resolve()
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    inside = f"{HOME}/python/lib/{version}"
    packages, roots = _packages(found["files"], standard)
    folders = [(str(standard), inside)]
    files = [(str(Path(sys.executable).resolve()), f"{HOME}/python/bin/python3")]
    for path in packages:
        (folders if path.is_dir() else files).append((str(path), f"{HOME}/packages/{path.name}"))
        # A folder brings its bytecode; a package of one file would be compiled in each container.
        cached = Path(importlib.util.cache_from_source(str(path)))
        if path.is_file() and cached.is_file():
            files.append((str(cached), f"{HOME}/packages/__pycache__/{cached.name}"))
    for name in found["libraries"]:
        path = Path(name)
        if not path.is_absolute() or _below(path.resolve(), [standard, *packages, *roots]):
            continue
        loader = path.name.startswith("ld-")
        target = str(path) if loader else f"{HOME}/lib/{path.name}"
        files.append((str(path.resolve()), target))
    masked = [f"{inside}/{name}" for name in ("site-packages", "dist-packages", "ensurepip")]
    present = [name for name in masked if (standard / Path(name).name).is_dir()]
    return Contents(tuple(sorted(folders)), tuple(sorted(files)), tuple(present))


def _packages(files: list[str], standard: Path) -> tuple[list[Path], list[Path]]:
    """Top-level packages outside the standard library, and the folders that hold them."""
    sites = _sites()
    tops: set[Path] = set()
    for file in files:
        path = Path(file).resolve()
        for site in sites:
            if path.is_relative_to(site):
                tops.add(site / path.relative_to(site).parts[0])
                break
        else:
            if path.parts[-2:-1] and any(name in path.parts for name in ("torch", "numpy")):
                raise SandboxUnavailableError(
                    f"{path} was loaded from outside site-packages (an editable install?); only "
                    "installed packages are handed to the container; install it normally"
                )
    # Wheels keep bundled libraries next to the package.
    bundled = {top.with_name(f"{top.name}.libs") for top in tops}
    tops |= {path for path in bundled if path.is_dir()}
    allowed = _required_names("torch", "numpy", "safetensors")
    # Optional helpers that happen to be installed (and torch happens to try) stay outside.
    kept = {top for top in tops if top.name in allowed}
    return sorted(kept), sorted(sites)


def _sites() -> set[Path]:
    """Folders that packages are installed into; a relative entry of the path is none of them."""
    found = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    found += [entry for entry in sys.path if entry.endswith("-packages")]
    return {Path(entry).resolve() for entry in found if Path(entry).is_absolute()}


def _required_names(*roots: str) -> set[str]:
    """Top-level names that the roots and all they require have installed."""
    names: set[str] = set()
    seen: set[str] = set()
    pending = list(roots)
    while pending:
        name = pending.pop()
        key = re.sub(r"[-_.]+", "-", name).lower()
        if key in seen or key in _BUILD_TOOLS:
            continue
        seen.add(key)
        try:
            package = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            # A requirement for another platform.
            continue
        names |= {file.parts[0] for file in package.files or []}
        for requirement in package.requires or []:
            if "extra ==" not in requirement:
                pending += re.findall(r"^[A-Za-z0-9._-]+", requirement)
    return names


def _below(path: Path, roots: list[Path]) -> bool:
    return any(path.is_relative_to(root) for root in roots)
