"""Raw threads of a forum: a first post, its replies, and when the first post became public."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from autoprune.errors import UsageError
from autoprune.evaluation.suites.dated import DATE_COLUMNS, day_range

_ID = ("id", "topic_id", "thread_id")
_SOURCE = ("source", "url", "link")
_FIRST = ("question", "post", "problem")
_REPLIES = ("replies", "answers")
_TEXT = ("text", "content", "body", "post_canonical")


@dataclass(frozen=True)
class Thread:
    """One thread.

    Args:
        id: Its name in the file, else its row.
        first_day: The earliest day on which the first post may have been public.
        last_day: The latest one; another day where only month or year is known.
        post: The first post.
        replies: The others, in order.
        source: Where it comes from.
    """

    id: str
    first_day: date
    last_day: date
    post: str
    replies: tuple[str, ...]
    source: str


def read_threads(path: Path) -> tuple[list[Thread], int]:
    """Threads of a ``.jsonl`` file, one object a line, and how many rows are not threads.

    A row holds a date (in a column of :data:`autoprune.evaluation.suites.dated.DATE_COLUMNS`) and
    either ``posts`` (texts, or objects with ``text``, ``content`` or ``body``), the question first,
    or ``question`` and ``replies``.
    """
    if not path.is_file():
        raise UsageError(f"{path} does not exist; pass a .jsonl file of threads, one object a line")
    threads, unusable = [], 0
    with path.open(encoding="utf-8") as lines:
        try:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                thread = _thread(json.loads(line), number, path.name)
                unusable += thread is None
                threads += [] if thread is None else [thread]
        except UnicodeDecodeError as error:
            raise UsageError(f"{path} is not UTF-8 text ({error.reason}); convert it") from error
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{path} line {number} is not JSON ({error}); correct it") from error
    if not threads:
        raise UsageError(
            f"{path} holds no thread with a date and a first post; a line is, for example, "
            '{"id": "7", "date": "2023-05-01", "posts": ["question", "reply"]}'
        )
    return threads, unusable


def _thread(row: Any, number: int, file: str) -> Thread | None:
    if not isinstance(row, Mapping):
        return None
    days = next((d for key in DATE_COLUMNS if (d := day_range(row.get(key)))), None)
    days = days or day_range({k: row[k] for k in ("year", "month") if row.get(k) is not None})
    posts = _texts(row.get("posts"))
    if not posts and (first := _first(row, _FIRST)):
        posts = [first, *_texts(next((row[key] for key in _REPLIES if key in row), None))]
    if days is None or not posts:
        return None
    name = _first(row, _ID) or str(number)
    return Thread(name, *days, posts[0], tuple(posts[1:]), _first(row, _SOURCE) or file)


def _texts(value: Any) -> list[str]:
    """The texts of a list of posts; an empty first one leaves none."""
    entries = value if isinstance(value, list) else []
    texts = [_first(one, _TEXT) if isinstance(one, Mapping) else _plain(one) for one in entries]
    return [text for text in texts if text] if texts and texts[0] else []


def _first(row: Mapping[str, Any], names: tuple[str, ...]) -> str:
    return next((text for name in names if (text := _plain(row.get(name)))), "")


def _plain(value: Any) -> str:
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        return ""
    # Half of a character that was cut in two can be neither written nor digested.
    return str(value).encode("utf-8", "replace").decode().strip()
