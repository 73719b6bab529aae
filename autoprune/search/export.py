"""A search's event log as plain files that anyone can read: events, losses, questions, answers."""

import json
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from autoprune.digest import digest_file
from autoprune.errors import DamagedFileError, UsageError
from autoprune.search.events import Event
from autoprune.storage import atomic_folder, write_json

RECORD = "record.json"
FORMAT = "autoprune search"
VERSION = 1
EVENTS, LOSSES, QUESTIONS = "events.jsonl", "losses.jsonl", "questions.jsonl"


def export_log(log: Path, folder: Path, about: Mapping[str, Any]) -> dict[str, Any]:
    """Write a log as JSON lines; the log is only read, also while its search runs.

    The same log gives the same bytes. A folder that was written before is replaced.

    Args:
        log: The SQLite file.
        folder: Where to write.
        about: What else the record states, such as the run's name and what it measured on.

    Returns:
        ``record.json``: format, specification, ``about``, lines and SHA-256 of each file.

    Raises:
        UsageError: If ``folder`` holds something else, or the log no search.
        DamagedFileError: If the log cannot be read.
    """
    if folder.exists() and not (folder / RECORD).is_file() and any(folder.iterdir()):
        raise UsageError(
            f"{folder} holds files that are no record of a search; name an empty or a new folder"
        )
    events = read_events(log)
    opened = next((event for event in events if event.kind == "opened"), None)
    if opened is None:
        raise UsageError(f"{log} holds no search yet; export it after its first step")
    lines = {
        EVENTS: [vars(event) for event in events],
        LOSSES: list(_losses(events)),
        QUESTIONS: list(_questions(events)),
    }
    with atomic_folder(folder) as made:
        files = {}
        for name, entries in lines.items():
            path = made / name
            path.write_text("".join(map(_line, entries)), encoding="utf-8")
            files[name] = {"lines": len(entries), "sha256": digest_file(path)}
        record = {
            "format": FORMAT,
            "version": VERSION,
            **about,
            "opened": opened.body,
            "files": files,
        }
        write_json(made / RECORD, record)
    return record


def _line(entry: Mapping[str, Any]) -> str:
    return json.dumps(entry, sort_keys=True, ensure_ascii=False) + "\n"


def read_events(log: Path) -> list[Event]:
    """All events of a log, oldest first; it is only read, also while its search runs.

    Raises:
        DamagedFileError: If it cannot be read.
    """
    return list(_events(log))


def _events(log: Path) -> Iterator[Event]:
    try:
        # Read only: another process may have the log open, and its lock is the writer's.
        database = sqlite3.connect(f"{log.absolute().as_uri()}?mode=ro", uri=True)
        try:
            rows = database.execute("SELECT seq, kind, key, body FROM events ORDER BY seq")
            for seq, kind, key, body in rows.fetchall():
                yield Event(seq, kind, key, json.loads(body))
        finally:
            database.close()
    except (sqlite3.DatabaseError, json.JSONDecodeError) as error:
        raise DamagedFileError(
            f"{log} is no readable search log ({error}); restore the file"
        ) from error


def _losses(events: list[Event]) -> Iterator[dict[str, Any]]:
    """Every measurement with its loss per window, nats per token."""
    recipes: dict[str, Any] = {}
    for event in events:
        step, outcome = event.body.get("step", {}), event.body.get("outcome", {})
        if step.get("recipe") is not None:
            recipes[step["recipe_id"]] = step["recipe"]
        if outcome.get("kind") == "Measurement":
            yield _loss(event, step, outcome)
        # The step that opens the sealed text names recipes that were measured before.
        for name, found in outcome.get("measurements", {}).items():
            yield _loss(event, {"recipe_id": name, "recipe": recipes.get(name)}, found)


def _loss(event: Event, step: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    part = "sealed" if event.body["step"]["kind"] == "Seal" else "selection"
    return {"event": event.seq, "step": event.key, "part": part, "asked": dict(step), **found}


def _questions(events: list[Event]) -> Iterator[dict[str, Any]]:
    """Every question to a designer with its answer, or why there is none."""
    for event in events:
        step = event.body.get("step", {})
        if step.get("kind") == "Propose":
            yield {
                "event": event.seq,
                "step": event.key,
                "operator": step["operator"],
                "question": step["request"],
                "answer": event.body["outcome"],
            }
