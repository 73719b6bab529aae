"""Finished cells by the digest of everything that decides them, and the count of sealed looks."""

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
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

    def touch_sealed(self, sealed_digest: str, title: str) -> None:
        """Note that the sealed windows are about to be read, on disk before they are."""
        path = self._looks(sealed_digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        when = datetime.now(UTC).isoformat(timespec="seconds")
        with path.open("a", encoding="utf-8") as log:
            log.write(json.dumps({"date": when, "cell": title}) + "\n")
            log.flush()
            os.fsync(log.fileno())

    def sealed_touches(self, sealed_digest: str) -> int:
        """How often these sealed windows were read, over all comparisons of this store."""
        path = self._looks(sealed_digest)
        if not path.is_file():
            return 0
        return len(path.read_text(encoding="utf-8").splitlines())

    def _looks(self, sealed_digest: str) -> Path:
        return self.root / "sealed" / f"{sealed_digest}.jsonl"


def _damaged(path: Path, why: str) -> DamagedFileError:
    return DamagedFileError(f"{path} is damaged ({why}); delete it and run the command again")
