"""Finished cells by the digest of everything that decides them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autoprune.digest import digest_json
from autoprune.errors import DamagedFileError
from autoprune.storage import write_json

Record = dict[str, Any]


class CellStore:
    """Measured cells, one small JSON file each.

    Only measurements are kept: what failed is tried again, since a reason such as a full memory
    passes.

    Args:
        root: Folder, made when missing.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, key: Mapping[str, Any]) -> Path:
        """Where the cell of ``key`` lies or will lie."""
        digest = digest_json(dict(key))
        return self.root / "cells" / digest[:2] / f"{digest}.json"

    def find(self, key: Mapping[str, Any]) -> Record | None:
        """The cell's record; None when it was not measured yet.

        Raises:
            DamagedFileError: If the file is not what was written.
        """
        path = self.path(key)
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise _damaged(path, str(error)) from error
        if not isinstance(kept, dict) or kept.get("sha256") != digest_json(kept.get("record")):
            raise _damaged(path, "its digest does not match")
        record: Record = kept["record"]
        return record

    def keep(self, key: Mapping[str, Any], record: Record) -> None:
        """Write a measured cell, atomically."""
        kept = {"key": dict(key), "record": record, "sha256": digest_json(record)}
        write_json(self.path(key), kept)


def _damaged(path: Path, why: str) -> DamagedFileError:
    return DamagedFileError(f"{path} is damaged ({why}); delete it and run the command again")
