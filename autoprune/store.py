"""A folder of results, addressed by the inputs they were made from and checked on every read."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from autoprune.digest import digest_file, digest_json, verify_file
from autoprune.errors import DamagedFileError
from autoprune.storage import atomic_file, write_json


@dataclass
class Stored:
    """Tensors with a small JSON description."""

    tensors: dict[str, Tensor]
    meta: dict[str, Any] = field(default_factory=dict)


class Store:
    """Results by key; several processes may share one store.

    Each file has a JSON sidecar with its key and SHA-256. A file without a sidecar was
    interrupted and is made again; a file that does not match its sidecar is damaged.

    Args:
        root: Folder, created if missing.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, key: Mapping[str, Any], suffix: str = ".safetensors") -> Path:
        """Path of the result for ``key``, whether or not it exists yet."""
        digest = digest_json(dict(key))
        return self.root / digest[:2] / f"{digest}{suffix}"

    def file(
        self, key: Mapping[str, Any], suffix: str, write: Callable[[Path], Any]
    ) -> tuple[Path, dict[str, Any]]:
        """Return the file for ``key``, written by ``write`` if it does not exist yet."""
        path = self.path(key, suffix)
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(path.suffix + ".lock")):
            return path, self._found_or_made(key, path, write)

    def _found_or_made(
        self, key: Mapping[str, Any], path: Path, write: Callable[[Path], Any]
    ) -> dict[str, Any]:
        """What ``write`` returned when it ran; nobody else works on the file meanwhile."""
        sidecar = sidecar_of(path)
        if path.exists() and sidecar.exists():
            record = read_sidecar(sidecar)
            verify_file(path, record["sha256"])
            return dict(record["meta"])
        with atomic_file(path) as temporary:
            try:
                meta = write(temporary) or {}
            except SafetensorError as error:
                raise OSError(str(error)) from error
        write_json(sidecar, {"key": dict(key), "sha256": digest_file(path), "meta": meta})
        return dict(meta)

    def recorded(
        self, key: Mapping[str, Any], suffix: str = ".safetensors"
    ) -> dict[str, Any] | None:
        """The sidecar's metadata for ``key``, without reading the file; None without a sidecar."""
        sidecar = sidecar_of(self.path(key, suffix))
        return dict(read_sidecar(sidecar)["meta"]) if sidecar.exists() else None

    def holds(self, key: Mapping[str, Any], suffix: str = ".safetensors") -> bool:
        """Whether the result for ``key`` exists and is undamaged."""
        path = self.path(key, suffix)
        try:
            verify_file(path, read_sidecar(sidecar_of(path))["sha256"])
        except (DamagedFileError, FileNotFoundError):
            return False
        return True

    def texts(self, key: Mapping[str, Any], make: Callable[[], Iterable[str]]) -> list[str]:
        """The texts for ``key``, one per line; made by ``make`` if they do not exist yet."""

        def write(path: Path) -> None:
            lines = (json.dumps(text, ensure_ascii=False) + "\n" for text in make())
            path.write_text("".join(lines), encoding="utf-8")

        path, _ = self.file(key, ".jsonl", write)
        # Iterate over the file: splitlines() treats other characters as line ends too.
        with path.open(encoding="utf-8") as lines:
            return [json.loads(line) for line in lines]

    def get_or_make(self, key: Mapping[str, Any], make: Callable[[], Stored]) -> Stored:
        """The tensors for ``key``, computed by ``make`` if they do not exist yet."""

        def write(path: Path) -> dict[str, Any]:
            made = make()
            save_file({n: t.contiguous() for n, t in made.tensors.items()}, path)
            return made.meta

        path, meta = self.file(key, ".safetensors", write)
        return Stored(load_file(path), meta)


def sidecar_of(path: Path) -> Path:
    """Where the record of a stored file lies."""
    return path.with_suffix(path.suffix + ".json")


def read_sidecar(sidecar: Path) -> dict[str, Any]:
    """The record of a stored file: its key, SHA-256 and metadata."""
    try:
        record = json.loads(sidecar.read_text(encoding="utf-8"))
        digest, meta = record["sha256"], record["meta"]
        if not isinstance(digest, str) or not isinstance(meta, dict):
            raise TypeError(f"sha256 is {digest!r:.40} and meta {meta!r:.40}")
        return {"sha256": digest, "meta": meta}
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedFileError(
            f"{sidecar} is damaged ({error}); delete it and run the command again"
        ) from error
