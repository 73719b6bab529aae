"""How often each sealed text was measured on: a count that only grows, kept in the state folder."""

import json
import os
from typing import Any

from filelock import FileLock

from tasks.state import State

_FILE = "sealed-touches.jsonl"


def touch(state: State, text: str, run: str) -> int:
    """Note that ``run`` is about to measure on a sealed text; the same run counts once.

    One ledger for searches, evaluations, comparisons and promotions. Models are not told apart: a
    text that one pruned model was chosen by is known to whoever chooses the next.

    Args:
        state: The state folder.
        text: Digest of the sealed text.
        run: Name of the run.

    Returns:
        Touches of this text so far, this one included.
    """
    path = state.root / _FILE
    with FileLock(str(path) + ".lock"):
        runs = {entry["run"] for entry in _entries(state) if entry["text"] == text}
        if run not in runs:
            with path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps({"text": text, "run": run}) + "\n")
                stream.flush()
                os.fsync(stream.fileno())
        return len(runs | {run})


def touches(state: State, text: str) -> int:
    """How often a sealed text was measured on so far."""
    return len({entry["run"] for entry in _entries(state) if entry["text"] == text})


def _entries(state: State) -> list[dict[str, Any]]:
    path = state.root / _FILE
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
