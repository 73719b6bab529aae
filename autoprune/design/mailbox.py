"""Questions and answers as files, for a designer that is a person, a batch service or an agent.

Each open question has two files, ``ID.json`` and its readable twin ``ID.md``. The answer goes next
to them as ``ID.answer.txt`` or ``ID.answer.json``. ID is the step and the beginning of a digest of
the search's name and the request, so an answer is never taken for that to another question, also
where two searches of the same settings share the folder. Answered and recorded questions move to
``answered/ID.json``. The answering side is not trusted: links are not followed, large files are not
read, and an invalid answer leaves the question open, with the reason in ``ID.problem.txt``.
"""

import json
import os
import re
import stat
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autoprune.design.answer_files import (
    LARGEST_BYTES,
    Fault,
    clean,
    content_of,
    decoded,
    read_json,
)
from autoprune.design.chat import ChatRequest, Reply, Usage
from autoprune.digest import digest_json
from autoprune.errors import AutopruneError, PrerequisiteError
from autoprune.storage import probe_folder, write_json, write_text

FORMAT = 1
# Time without a change after which a text counts as finished; JSON does when it is complete.
SETTLE_SECONDS = 3.0
ANSWERED = "answered"
# `Propose.step_id` followed by the part that :attr:`Question.id` adds.
ID = re.compile(r"[a-z0-9][a-z0-9.]{0,39}-[0-9a-f]{8}")


@dataclass(frozen=True)
class Question:
    """A question to the designer.

    Args:
        run: The search that asks.
        step: Step of the search.
        operator: Kind of change requested.
        request: The prompt, and the form of the answer as grammar and schema.
        left: Remaining budget by ``candidates``, ``evaluations``, ``seconds``, ``tokens`` and
            ``money``; None: no limit.
    """

    run: str
    step: str
    operator: str
    request: ChatRequest
    left: Mapping[str, float | None]

    @property
    def id(self) -> str:
        """Base name of its files."""
        return f"{self.step}-{digest_json([self.run, self.request.digest])[:8]}"

    def to_json(self) -> dict[str, Any]:
        """The content of ``ID.json``."""
        return {
            "format": FORMAT,
            "id": self.id,
            "run": self.run,
            "step": self.step,
            "operator": self.operator,
            **self.request.to_json(),
            "left": dict(self.left),
            "answer_files": [f"{self.id}.answer.txt", f"{self.id}.answer.json"],
            "largest_bytes": LARGEST_BYTES,
        }


@dataclass
class Mailbox:
    """Folder of one search's questions; several searches may share it.

    Args:
        folder: Created if missing.
        run: Name of the search.
        settle: Seconds without a change after which a text counts as finished.
    """

    folder: Path
    run: str
    settle: float = SETTLE_SECONDS
    _seen: dict[Path, tuple[tuple[int, ...], float]] = field(default_factory=dict, repr=False)
    _faults: dict[str, str] = field(default_factory=dict, repr=False)

    def check(self) -> None:
        """Check early whether the folder can be used."""
        try:
            (self.folder / ANSWERED).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unusable(error) from error
        if not os.access(self.folder, os.W_OK | os.X_OK):
            raise PrerequisiteError(
                f"the folder of questions {self.folder} cannot be written; name another, as "
                "--designer files:DIR"
            )

    def probe(self) -> None:
        """Check whether the folder can be used, and leave nothing there."""
        try:
            probe_folder(self.folder)
        except OSError as error:
            raise self._unusable(error) from error

    def _unusable(self, error: OSError) -> PrerequisiteError:
        return PrerequisiteError(
            f"the folder of questions {self.folder} cannot be used ({error.strerror}); name one "
            "that can be written, as --designer files:DIR"
        )

    # Methods for the search

    def post(self, question: Question) -> None:
        """Write a question unless it exists already."""
        self.check()
        path = self.folder / f"{question.id}.json"
        if _is_plain(path) and _is_plain(path.with_suffix(".md")):
            return
        # Write the twin first, so that both exist once the JSON file appears.
        write_text(path.with_suffix(".md"), readable(question))
        write_json(path, question.to_json())

    def look(self, name: str) -> Reply | None:
        """Return the answer to a question; None as long as there is none.

        The time spent waiting for it is not counted.
        """
        reason = ""
        for path in self._answer_files(name):
            found = self._read(path)
            if isinstance(found, Reply):
                return found
            if isinstance(found, Fault):
                reason = reason or f"{path.name} {found.reason}"
        self._complain(name, reason)
        return None

    def unsettled(self, name: str) -> bool:
        """Whether an answer exists that may still be being written."""
        return any(
            path in self._seen and time.monotonic() - self._seen[path][1] < self.settle
            for path in self._answer_files(name)
        )

    def fault(self, name: str) -> str:
        """Return why the file there is not a valid answer; empty if nothing is wrong."""
        return self._faults.get(name, "")

    def copy(self, question: Question, reply: Reply) -> None:
        """Write a question with its answer to ``answered/``, ignoring a folder in the way."""
        usage = {"prompt_tokens": reply.usage.prompt_tokens}
        usage["completion_tokens"] = reply.usage.completion_tokens
        body = question.to_json() | {"answer": reply.text, "usage": usage}
        try:
            write_json(self.folder / ANSWERED / f"{question.id}.json", body)
        except AutopruneError:
            # The answer is in the search's log, so something in the way is no reason to stop.
            return

    def remove(self, name: str) -> None:
        """Remove a question and its files from the folder, once its answer is recorded.

        Folders with these names are left in place; nothing reads them again.
        """
        # Remove the question first: without its answer it would briefly look open.
        related_files = (self.folder / f"{name}{end}" for end in (".json", ".md", ".problem.txt"))
        for path in (*related_files, *self._answer_files(name)):
            self._seen.pop(path, None)
            try:
                path.unlink(missing_ok=True)
            except OSError:
                continue
        self._faults.pop(name, None)

    def open_ids(self) -> list[str]:
        """Return the names of this search's questions in the folder, in the order of steps."""
        found = []
        try:
            names = [path.name for path in self.folder.iterdir()]
        except OSError:
            return []
        for entry in names:
            name, dot, end = entry.rpartition(".json")
            if dot and not end and ID.fullmatch(name) and self.read_question(name) is not None:
                found.append(name)
        return sorted(found, key=_by_step)

    # Methods for the answering side

    def read_question(self, name: str) -> dict[str, Any] | None:
        """Return the content of a question of this search; None if there is none."""
        if not ID.fullmatch(name):
            return None
        content = content_of(self.folder / f"{name}.json", 8 * LARGEST_BYTES)
        try:
            body = json.loads(content.decode()) if isinstance(content, bytes) else None
        except (ValueError, RecursionError):
            return None
        mine = isinstance(body, dict) and body.get("run") == self.run and body.get("id") == name
        return body if mine else None

    def is_answered(self, name: str) -> bool:
        """Whether an answer to the question exists already."""
        return any(path.exists() or path.is_symlink() for path in self._answer_files(name))

    def answer(self, name: str, text: str, usage: Usage = Usage()) -> None:  # noqa: B008 (frozen)
        """Write an answer atomically."""
        counted = {"prompt_tokens": usage.prompt_tokens}
        counted["completion_tokens"] = usage.completion_tokens
        body = {"text": clean(text)} | ({"usage": counted} if usage.total else {})
        write_json(self.folder / f"{name}.answer.json", body)

    # Helpers

    def _answer_files(self, name: str) -> tuple[Path, Path]:
        return self.folder / f"{name}.answer.json", self.folder / f"{name}.answer.txt"

    def _read(self, path: Path) -> Reply | Fault | None:
        try:
            seen = path.lstat()
        except (OSError, ValueError):
            self._seen.pop(path, None)
            return None
        settled = self._settled(path, seen)
        content = content_of(path, LARGEST_BYTES)
        # The file may have changed during the read: look again.
        settled = settled and _is_same(path, seen)
        if isinstance(content, Fault):
            return content
        text = decoded(content)
        if isinstance(text, str) and not text.strip():
            # Editors create an empty file first.
            return None
        found = text if isinstance(text, Fault) else None
        if found is None and path.suffix == ".json":
            read = read_json(str(text))
            if isinstance(read, Reply):
                return read
            found = read
        if not settled:
            return None
        return found or Reply(str(text), waited=0.0)

    def _settled(self, path: Path, seen: os.stat_result) -> bool:
        """Whether the file has not been written for a while."""
        key = _key(seen)
        known = self._seen.get(path)
        if known is None or known[0] != key:
            # The age of a file that existed before we looked counts as waiting time.
            age = max(0.0, time.time() - seen.st_mtime)
            known = self._seen[path] = (key, time.monotonic() - min(age, self.settle))
        return time.monotonic() - known[1] >= self.settle

    def _complain(self, name: str, reason: str) -> None:
        if self._faults.get(name, "") == reason:
            return
        path = self.folder / f"{name}.problem.txt"
        self._faults[name] = reason
        try:
            if reason:
                write_text(path, f"{reason}\n")
            else:
                path.unlink(missing_ok=True)
        except (OSError, AutopruneError):
            # Something else has this name; the search reports the problem as well.
            return


def readable(question: Question) -> str:
    """Render a question for people: what to do, then the prompt."""
    left = {name: value for name, value in question.left.items() if value is not None}
    shown = ", ".join(f"{value:g} {name}" for name, value in left.items()) or "no limit"
    asked = f" for {question.request.model}" if question.request.model else ""
    lines = [
        f"# Question {question.id}{asked}",
        "",
        f"Search {question.run}, operator {question.operator}. Left of the budget: {shown}.",
        "",
        f"Write the answer to `{question.id}.answer.txt` next to this file: plain UTF-8 text, only",
        "the lines that are asked for. Write it under another name and rename it, or leave it",
        f"unchanged for {SETTLE_SECONDS:g} seconds. A program may instead write",
        f'`{question.id}.answer.json`: `{{"text": "..."}}`, or one object by the schema in the',
        "`.json` file.",
    ]
    for message in question.request.messages:
        lines += ["", f"## {message.role}", "", message.content.rstrip()]
    return "\n".join(lines) + "\n"


def _by_step(name: str) -> tuple[Any, ...]:
    parts = re.findall(r"\d+|\D+", name.rpartition("-")[0])
    return tuple((part.isdigit(), int(part) if part.isdigit() else part) for part in parts)


def _is_plain(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def _key(seen: os.stat_result) -> tuple[int, ...]:
    return seen.st_ino, seen.st_size, seen.st_mtime_ns


def _is_same(path: Path, seen: os.stat_result) -> bool:
    try:
        return _key(path.lstat()) == _key(seen)
    except OSError:
        return False
