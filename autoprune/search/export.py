"""A search's record as plain files that anyone can read: sealed losses, log, questions, answers."""

import json
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from autoprune.budget import Budget
from autoprune.digest import digest_file
from autoprune.errors import DamagedFileError, UsageError
from autoprune.search.events import Event
from autoprune.storage import atomic_folder

FORMAT = "autoprune losses"
SEARCH_FORMAT, VERSION = "autoprune search", 1
RECORD, FIGURES = "record.json", "figures.json"
SEALED, SEARCH, COUNTS = "losses.json", "search.json", "counts.json"
EVENTS, LOSSES, QUESTIONS = "events.jsonl", "losses.jsonl", "questions.jsonl"


def export_log(
    log: Path,
    folder: Path,
    origin: Mapping[str, Any],
    about: Mapping[str, Any],
    public: Callable[[str], str] = str,
    counts: Mapping[str, Any] = {},
) -> dict[str, Any]:
    """Write a search as a record of evidence; the log is only read, even while its search runs.

    The same log gives the same bytes. A folder written earlier is replaced, except for its
    ``figures.json``, which a person writes.

    Args:
        log: The SQLite file.
        folder: Where to write.
        origin: How ``record.json`` says it was made: command, commit, machine, date.
        about: Further content of ``search.json``, such as the run's name and its corpus.
        public: Removes this machine's paths from the text of a file.
        counts: Further figures, written to ``counts.json`` if there are any.

    Returns:
        ``record.json``: format, ``origin``, SHA-256 of each file.

    Raises:
        UsageError: If ``folder`` holds something else, or the log holds no search.
        DamagedFileError: If the log cannot be read.
    """
    if folder.exists() and not (folder / SEARCH).is_file() and any(folder.iterdir()):
        raise UsageError(
            f"{folder} holds files that are not a record of a search; name an empty or a new folder"
        )
    events = read_events(log)
    opened = next((event for event in events if event.kind == "opened"), None)
    if opened is None:
        raise UsageError(f"{log} holds no search yet; export it after its first step")
    search = {"format": SEARCH_FORMAT, "version": VERSION, **about, "opened": opened.body}
    texts = {
        EVENTS: _lines(vars(event) for event in events),
        LOSSES: _lines(_losses(events)),
        QUESTIONS: _lines(_questions(events)),
        SEARCH: _text(search),
        SEALED: _text({"methods": _sealed(events, _budget(opened.body["spec"]))}),
    }
    if counts:
        texts[COUNTS] = _text(counts)
    with atomic_folder(folder) as made:
        for name, text in texts.items():
            (made / name).write_text(public(text), encoding="utf-8")
        files = {name: digest_file(made / name) for name in texts}
        record = {"format": FORMAT, **origin, "files": files}
        (made / RECORD).write_text(public(_text(record)), encoding="utf-8")
        if (folder / FIGURES).is_file():
            shutil.copyfile(folder / FIGURES, made / FIGURES)
    return record


def _text(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _lines(entries: Iterable[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(e, sort_keys=True, ensure_ascii=False) + "\n" for e in entries)


def read_events(log: Path) -> list[Event]:
    """Return all events of a log, oldest first; it is only read, even while its search runs.

    Raises:
        DamagedFileError: If it cannot be read.
    """
    return list(_events(log))


def _events(log: Path) -> Iterator[Event]:
    try:
        # Read-only: another process may have the log open, and its lock is for the writer.
        database = sqlite3.connect(f"{log.absolute().as_uri()}?mode=ro", uri=True)
        try:
            rows = database.execute("SELECT seq, kind, key, body FROM events ORDER BY seq")
            for seq, kind, key, body in rows.fetchall():
                yield Event(seq, kind, key, json.loads(body))
        finally:
            database.close()
    except (sqlite3.DatabaseError, json.JSONDecodeError) as error:
        raise DamagedFileError(
            f"{log} is not a readable search log ({error}); restore the file"
        ) from error


def _losses(events: list[Event]) -> Iterator[dict[str, Any]]:
    """Every measurement with its loss per window, nats per token."""
    recipes: dict[str, Any] = {}
    for event in events:
        step, outcome = event.body.get("step", {}), event.body.get("outcome", {})
        # The first rung measures with the proxy's repair, which is not the recipe's own.
        if step.get("recipe") is not None and step.get("rung") != 1:
            recipes[step["recipe_id"]] = step["recipe"]
        if outcome.get("kind") == "Measurement":
            yield _loss(event, step, outcome)
        # The step that opens the sealed text names recipes that were measured before.
        for name, found in outcome.get("measurements", {}).items():
            yield _loss(event, {"recipe_id": name, "recipe": recipes.get(name)}, found)


def _loss(event: Event, step: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    part = "sealed" if event.body["step"]["kind"] == "Seal" else "selection"
    # No figure is based on the sparsity of each layer, and the log has it.
    kept = {key: value for key, value in found.items() if key != "layer_sparsity"}
    return {"event": event.seq, "step": event.key, "part": part, "asked": dict(step), **kept}


def _budget(spec: Mapping[str, Any]) -> str:
    units = {unit: spec.get(unit) for unit in Budget.OF_SCHEMES}
    return str(Budget.chosen(spec.get("sparsity"), spec["pattern"], units))


def _sealed(events: list[Event], budget: str) -> dict[str, Any]:
    """Loss of each sealed window, nats per token, by recipe, budget and draw."""
    methods: dict[str, Any] = {}
    for event in events:
        for name, found in event.body.get("outcome", {}).get("measurements", {}).items():
            methods[name] = {budget: {"0": found["nll"]}}
    return methods


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
