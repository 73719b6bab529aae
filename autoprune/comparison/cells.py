"""Store of finished cells, keyed by the digest of everything that determines them."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autoprune.digest import digest_json
from autoprune.errors import DamagedFileError
from autoprune.storage import write_json

Record = dict[str, Any]
# Figures that may be infinite if a destroyed model computes no numbers; JSON cannot express that.
_INFINITE = ("nll", "perplexity")


class CellStore:
    """Store of measured cells, one small JSON file each.

    Only measurements are kept. Failed cells are tried again, since a cause such as full memory may
    be temporary.

    Args:
        root: Folder, created if missing.
        record: A second folder, which holds the cells of one comparison. Each is filled from the
            other, so a comparison can continue from a record started on another machine.
    """

    def __init__(self, root: Path, record: Path | None = None) -> None:
        self.root = root
        self.record = record
        self.places = [root] if record is None else [root, record]

    def paths(self, key: Mapping[str, Any]) -> list[Path]:
        """Return where the cell of ``key`` is kept, whether or not it is."""
        return [cell_path(place, digest_json(dict(key))) for place in self.places]

    def has(self, key: Mapping[str, Any]) -> bool:
        """Whether the cell is stored in either folder."""
        digest = digest_json(dict(key))
        return any(cell_path(place, digest).exists() for place in self.places)

    def find(self, key: Mapping[str, Any]) -> Record | None:
        """Return the cell's record; None if it has not been measured yet."""
        digest = digest_json(dict(key))
        found: Record | None = None
        for place in self.places:
            found = read_cell(place, digest) if found is None else found
        if found is not None:
            self.keep(key, found)
        return found

    def keep(self, key: Mapping[str, Any], record: Record) -> None:
        """Write a measured cell atomically to each folder that lacks it."""
        digest = digest_json(dict(key))
        paths = [cell_path(place, digest) for place in self.places]
        missing = [path for path in paths if not path.exists()]
        if missing:
            plain = standard(record)
            kept = {"key": dict(key), "record": plain, "sha256": digest_json(plain)}
            for path in missing:
                write_json(path, kept)


def cell_path(place: Path, digest: str) -> Path:
    """Return the path of a cell's file."""
    return place / "cells" / digest[:2] / f"{digest}.json"


def read_cell(place: Path, digest: str) -> Record | None:
    """Read a cell's record by the digest of its key; None if there is none."""
    path = cell_path(place, digest)
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise _damaged(path, str(error)) from error
    if not isinstance(kept, dict) or kept.get("sha256") != digest_json(kept.get("record")):
        raise _damaged(path, "its digest does not match")
    if digest_json(kept.get("key")) != digest:
        raise _damaged(path, "it is the cell of another key")
    record: Record = kept["record"]
    return restored(record)


def standard(value: Any) -> Any:
    """Replace figures that are not finite, which JSON cannot express, by null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: standard(inner) for key, inner in value.items()}
    return [standard(inner) for inner in value] if isinstance(value, list | tuple) else value


def restored(record: Record) -> Record:
    """Undo :func:`standard` for a record: a loss or a perplexity of null is infinite again."""
    back = dict(record)
    for part in ("selection", "sealed"):
        if part in back:
            found = dict(back[part])
            for name in _INFINITE:
                value = found[name]
                several = isinstance(value, list)
                found[name] = [_back(one) for one in value] if several else _back(value)
            back[part] = found
    return back


def _back(value: float | None) -> float:
    return math.inf if value is None else value


def _damaged(path: Path, why: str) -> DamagedFileError:
    return DamagedFileError(f"{path} is damaged ({why}); delete it and run the command again")
