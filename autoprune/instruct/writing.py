"""What is written: a training set with its record, and a dated window that ``live`` reads."""

import json
from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path
from typing import Any, Literal, get_args

import pyarrow
import pyarrow.parquet

from autoprune.errors import UsageError
from autoprune.instruct.building import Item
from autoprune.storage import atomic_file, atomic_folder, write_json
from autoprune.targets import check_apart

RECORD = "record.json"
Format = Literal["jsonl", "parquet"]


def check_set(folder: Path, *, sources: Iterable[Path] = (), overwrite: bool = False) -> None:
    """Refuse a folder that is not free for a training set, before anybody is asked."""
    check_apart(folder, sources)
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; name a folder for the set")
    held = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if held - {RECORD, *(f"instruct.{kind}" for kind in get_args(Format))}:
        raise UsageError(
            f"the folder {folder} holds other files than a training set, and writing would replace "
            "it; name another folder"
        )
    if held and not overwrite:
        raise UsageError(
            f"the folder {folder} holds a training set; name another folder, or add --overwrite"
        )


def write_training_set(
    folder: Path, items: Sequence[Item], record: dict[str, Any], kind: Format = "jsonl"
) -> Path:
    """Write conversations and how they came about, the whole folder at once.

    A row holds ``messages`` (question and solution), ``question``, ``answer``, ``date``,
    ``source``, ``id`` and ``votes``.
    """
    name = f"instruct.{kind}"
    with atomic_folder(folder) as temporary:
        _write_rows(temporary / name, [_conversation(item) for item in items])
        write_json(temporary / RECORD, record)
    return folder / name


def write_window(
    folder: Path, items: Sequence[Item], since: date, until: date, kind: Format = "jsonl"
) -> Path:
    """Write a dated test set, named by its first and last day, as the suite ``live`` finds it."""
    path = folder / window_name(since, until, kind)
    rows = [
        {
            "id": item.id,
            "date": item.date.isoformat(),
            "question": item.question,
            "answer": item.answer,
            "source": item.source,
        }
        for item in items
    ]
    with atomic_file(path) as temporary:
        _write_rows(temporary, rows)
    return path


def window_name(since: date, until: date, kind: Format = "jsonl") -> str:
    """Name of a window's file; see :func:`autoprune.evaluation.suites.dated.newest_window`."""
    return f"{since.isoformat()}--{until.isoformat()}.{kind}"


def _conversation(item: Item) -> dict[str, Any]:
    return {
        "messages": [
            {"role": "user", "content": item.question},
            {"role": "assistant", "content": item.solution},
        ],
        "question": item.question,
        "answer": item.answer,
        "date": item.date.isoformat(),
        "source": item.source,
        "id": item.id,
        "votes": item.votes,
    }


def _write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    # A model may write halves of surrogate pairs, which are not text.
    lines = [json.dumps(row, ensure_ascii=False).encode("utf-8", "replace") for row in rows]
    if path.suffix == ".parquet":
        table = pyarrow.Table.from_pylist([json.loads(line) for line in lines])
        pyarrow.parquet.write_table(table, path, compression="zstd")
    else:
        path.write_bytes(b"".join(line + b"\n" for line in lines))
