"""How often each sealed text was measured on: a count that only grows, kept in the state folder."""

import json

from filelock import FileLock

from tasks.state import State

_FILE = "sealed-touches.jsonl"


def touch(state: State, text: str, run: str) -> int:
    """Note that ``run`` measured on a sealed text; the same run counts once.

    Args:
        state: The state folder.
        text: Digest of the sealed text.
        run: Name of the run.

    Returns:
        Touches of this text so far, this one included.
    """
    path = state.root / _FILE
    with FileLock(str(path) + ".lock"):
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        runs = {entry["run"] for entry in map(json.loads, lines) if entry["text"] == text}
        if run not in runs:
            with path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps({"text": text, "run": run}) + "\n")
        return len(runs | {run})
