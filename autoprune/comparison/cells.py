"""Finished cells by the digest of everything that decides them."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autoprune.digest import digest_json
from autoprune.errors import DamagedFileError
from autoprune.storage import write_json

Record = dict[str, Any]
# Figures that may be infinite, where a destroyed model computes no numbers; JSON has no word.
_INFINITE = ("nll", "perplexity")


class CellStore:
    """Measured cells, one small JSON file each.

    Only measurements are kept: what failed is tried again, since a reason such as a full memory
    passes.

    Args:
        root: Folder, made when missing.
        record: A second folder that holds the cells of one comparison. Each is filled from the
            other, so that a comparison goes on from a record that was begun on another machine.
    """

    def __init__(self, root: Path, record: Path | None = None) -> None:
        self.root = root
        self.places = [root] if record is None else [root, record]

    def path(self, key: Mapping[str, Any]) -> Path:
        """Where the cell of ``key`` lies or will lie."""
        return cell_path(self.root, digest_json(dict(key)))

    def has(self, key: Mapping[str, Any]) -> bool:
        """Whether the cell is kept anywhere."""
        digest = digest_json(dict(key))
        return any(cell_path(place, digest).exists() for place in self.places)

    def find(self, key: Mapping[str, Any]) -> Record | None:
        """The cell's record; None when it was not measured yet.

        Raises:
            DamagedFileError: If the file is not what was written.
        """
        digest = digest_json(dict(key))
        found: Record | None = None
        for place in self.places:
            found = read_cell(place, digest) if found is None else found
        if found is not None:
            self.keep(key, found)
        return found

    def keep(self, key: Mapping[str, Any], record: Record) -> None:
        """Write a measured cell, atomically, wherever it is not kept yet."""
        digest = digest_json(dict(key))
        paths = [cell_path(place, digest) for place in self.places]
        missing = [path for path in paths if not path.exists()]
        if missing:
            plain = standard(record)
            kept = {"key": dict(key), "record": plain, "sha256": digest_json(plain)}
            for path in missing:
                write_json(path, kept)


def cell_path(place: Path, digest: str) -> Path:
    """File of a cell.

    Args:
        place: Folder of a store or a record.
        digest: Digest of the cell's key.
    """
    return place / "cells" / digest[:2] / f"{digest}.json"


def read_cell(place: Path, digest: str) -> Record | None:
    """A cell's record by the digest of its key; None when there is none.

    Raises:
        DamagedFileError: If the file is not what was written.
    """
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
    """The value with null for figures that are not finite, for which JSON has no word."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: standard(inner) for key, inner in value.items()}
    return [standard(inner) for inner in value] if isinstance(value, list | tuple) else value


def restored(record: Record) -> Record:
    """A record as it was measured: a loss or a perplexity of null is infinite again."""
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
