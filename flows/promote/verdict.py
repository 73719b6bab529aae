"""The outcome of a promotion in words; imports nothing that takes time."""

from collections.abc import Mapping
from typing import Any


def verdict_line(record: Mapping[str, Any]) -> str:
    """Summarize the outcome of a promotion in one line."""
    name, before = record["name"], record["champion"]
    if record["rollback"]:
        did = "is" if record["moved"] else "would be"
        return f"version {before} of {name} {did} champion again"
    new = f"version {record['challenger']} of {name}"
    if record["moved"]:
        return f"{new} is champion now: {record['reason']}"
    stays = "there is no champion" if before is None else f"version {before} stays champion"
    if record["passed"]:
        return f"the gate passes {new}: {record['reason']}; nothing was moved, {stays}"
    return f"the gate refuses {new}: {record['reason']}; {stays}"
