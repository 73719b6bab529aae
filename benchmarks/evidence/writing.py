"""The raw record of a benchmark: its data, and how they were made."""

import sys
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from autoprune.digest import digest_file
from autoprune.storage import write_json
from benchmarks.measured import commit
from benchmarks.table import machine


def write_record(
    folder: Path,
    kind: str,
    command: str,
    data: tuple[str, Any],
    private: Collection[str] = (),
    beside: Collection[str] = (),
    **facts: Any,
) -> None:
    """Write the data and ``record.json``, which states origin and digest.

    Args:
        folder: Where; made when missing.
        kind: Format of the record.
        command: Its beginning; the options of this process follow.
        data: Name and content of the file beside ``record.json``.
        private: Options whose values name places of this machine; left out.
        beside: Further files of the record that are written already.
        facts: What the record states besides.
    """
    name, content = data
    write_json(folder / name, content)
    kept, hidden = [], False
    for word in sys.argv[1:]:
        if word.startswith("--"):
            hidden = word.partition("=")[0] in {*private, "--record"}
        if not hidden:
            # A place of this machine means nothing elsewhere.
            kept.append(Path(word).name if Path(word).is_absolute() else word)
    body = {
        "format": kind,
        "command": " ".join([command, *kept]),
        "commit": commit(folder),
        "machine": machine(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        **facts,
        "files": {file: digest_file(folder / file) for file in (name, *beside)},
    }
    write_json(folder / "record.json", body)
