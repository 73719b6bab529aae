"""A model's answers, each kept in a file as soon as it is there: nothing is asked twice."""

import json
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock

from autoprune.design.chat import ChatRequest
from autoprune.design.refusals import RequestRefusedError
from autoprune.design.transports import Designer
from autoprune.digest import digest_json
from autoprune.errors import AutopruneError, DamagedFileError, reason_of
from autoprune.progress import Progress, Report, silent

CUT_OFF = "cut_off"
# 2: answers that were cut off say so.
FORMAT = 2
_SCHEMA = "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, body TEXT NOT NULL)"


@dataclass(frozen=True)
class Ask:
    """One question.

    Args:
        step_id: Its stage and thread, such as ``rewrite.12``.
        request: What is asked.
    """

    step_id: str
    request: ChatRequest


@dataclass(frozen=True)
class Answer:
    """What came back.

    Args:
        text: Untrusted.
        code: Why there is no text: :data:`CUT_OFF` at the limit of tokens, or the code of a request
            that was refused for itself; else empty.
        tokens: Of question and answer, as the server counted them.
    """

    text: str
    code: str = ""
    tokens: int = 0


Keep = Callable[[Ask, Answer], None]
# Asks all of the questions, in any order, and hands over each answer at once.
Asker = Callable[[Sequence[Ask], Keep], None]


def one_by_one(designer: Designer) -> Asker:
    """An asker that puts one question after the other to a designer."""

    def ask(questions: Sequence[Ask], keep: Keep) -> None:
        for question in questions:
            keep(question, answer_of(designer, question.request))

    return ask


def answer_of(designer: Designer, request: ChatRequest) -> Answer:
    """A designer's answer; a request that is refused for itself is an answer too."""
    try:
        reply = designer.complete(request)
    except RequestRefusedError as error:
        return Answer("", error.code)
    if reply.finish_reason == "error" and not reply.text:
        raise AutopruneError(
            f"{designer.name} gave no answer and no reason; what it answered so far is kept: type "
            "the same command again"
        )
    if reply.finish_reason == "length":
        return Answer("", CUT_OFF, reply.usage.total)
    return Answer(reply.text, tokens=reply.usage.total)


class Answers:
    """Answers by the digest of who is asked and what; a context manager that owns the file.

    Args:
        file: SQLite file, made when missing; several commands may share it.
        who: Who is asked: another one's answers are not taken.
        ask: How open questions are put.
        report: Callback, called with each answer.

    ``asked`` and ``known`` count the questions that were put and those that were on record;
    ``tokens`` are those of the former.

    Raises:
        DamagedFileError: If the file is not one of answers.
    """

    def __init__(self, file: Path, who: str, ask: Asker, report: Report = silent) -> None:
        self._file, self._who, self._ask, self._report = file, who, ask, report
        self.asked = self.known = self.tokens = 0
        self._lock = Lock()
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._database = sqlite3.connect(
                file, timeout=60, isolation_level=None, check_same_thread=False
            )
            self._database.execute("PRAGMA journal_mode=WAL")
            # Answers outlive a killed process; a power cut may cost the last few of them.
            self._database.execute("PRAGMA synchronous=NORMAL")
            self._database.execute(_SCHEMA)
        except sqlite3.DatabaseError as error:
            raise _damaged(file, error) from error

    def __enter__(self) -> "Answers":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; answers that still come are lost."""
        with self._lock:
            self._database.close()

    def all(self, stage: str, questions: Sequence[Ask]) -> list[Answer]:
        """Answers to all questions, in order."""
        keys = [digest_json([FORMAT, self._who, question.request.digest]) for question in questions]
        found = {key: answer for key in keys if (answer := self._read(key)) is not None}
        pending = dict(zip(keys, questions, strict=True))
        still = {key: question for key, question in pending.items() if key not in found}
        names = {question.step_id: key for key, question in still.items()}
        self.known += len(pending) - len(still)

        def keep(question: Ask, answer: Answer) -> None:
            key = names[question.step_id]
            with self._lock:
                self._write(key, answer)
                found[key] = answer
                self.asked += 1
                self.tokens += answer.tokens
                done = len(found)
            self._report(Progress(stage, done, len(pending), "answers"))

        if still:
            self._ask(list(still.values()), keep)
        return [found[key] for key in keys]

    def _read(self, key: str) -> Answer | None:
        try:
            with closing(self._database.cursor()) as cursor:
                row = cursor.execute("SELECT body FROM answers WHERE key = ?", (key,)).fetchone()
            return None if row is None else Answer(**json.loads(row[0]))
        except (sqlite3.DatabaseError, ValueError, TypeError) as error:
            raise _damaged(self._file, error) from error

    def _write(self, key: str, answer: Answer) -> None:
        # Surrogates that a model writes stay what they are: JSON escapes them.
        body = json.dumps(asdict(answer))
        try:
            self._database.execute("INSERT OR REPLACE INTO answers VALUES (?, ?)", (key, body))
        except sqlite3.Error as error:
            raise _damaged(self._file, error) from error


def _damaged(file: Path, error: Exception) -> DamagedFileError:
    return DamagedFileError(
        f"the file of answers {file} cannot be used ({reason_of(error)}); free some space where "
        "the disk is full, else move it away: its questions are then asked, and paid, again"
    )
