"""The work of ``autoprune instruct``: which designer to ask, what to make of the threads."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from autoprune.design.mailbox import Mailbox, Question
from autoprune.digest import digest_file
from autoprune.errors import NothingPassedError, UsageError
from autoprune.evaluation.suites.dated import first_day, last_day
from autoprune.instruct import (
    Answers,
    Ask,
    Selection,
    Wanted,
    one_by_one,
    read_threads,
    select,
    write_training_set,
    write_window,
)
from autoprune.instruct.answers import Answer, Asker, Keep, answer_of
from autoprune.instruct.building import VERSION, Purpose
from autoprune.instruct.writing import Format, check_set, window_name
from autoprune.search.spec import DesignerSpec
from autoprune.store import Store
from autoprune.targets import check_file
from autoprune.text.corpora import load_corpus
from flows.search.asking import Asking
from flows.terminal.console import report
from tasks.design import ON_THIS_MACHINE, DesignerSession
from tasks.state import State, without_login

FILES = "files"
# Most questions in a folder at once, and the interval at which it is polled.
OPEN_FILES = 64
LOOK_SECONDS = 0.5
CONTEXT_TOKENS = 32768


@dataclass(frozen=True)
class Job:
    """The options of one ``instruct`` command.

    Args:
        action: ``build`` or ``bench``.
        raw: File of threads.
        out: Folder of the training set, or of the windows.
        since: Lower bound as typed, ``2024-01``; None: none.
        until: Upper bound, likewise.
        kind: Of the file.
        overwrite: Whether an existing target may be replaced.
        references: Texts that no item may share a sequence of words with.
        words: Length of such a sequence; 0: 10 for ``build``, 8 for ``bench``.
        designer: ``auto``, ``openai``, ``local`` or ``files:DIR``.
        models: None, one or two names: for both rewrites, or for the first and the second.
        base_url: Address of the endpoint.
        answer_tokens: Token limit of one answer.
        temperature: Sampling temperature of the rewrites.
        seed: Seed of the first rewrite.
    """

    action: str
    raw: Path
    out: Path
    since: str | None
    until: str | None
    kind: Format
    overwrite: bool
    references: Sequence[str]
    words: int
    designer: str
    models: Sequence[str]
    base_url: str | None
    answer_tokens: int
    temperature: float
    seed: int

    @property
    def usual_place(self) -> bool:
        """Whether the suite ``live`` finds the target by default."""
        return self.out == State.open().live

    @property
    def wanted(self) -> Wanted:
        """The job in the library's form."""
        since = None if self.since is None else _first_of(self.since)
        until = None if self.until is None else last_day(self.until)
        if since is not None and until is not None and since > until:
            raise UsageError(f"--from {self.since} is after --until {self.until}; swap them")
        second = self.models[1] if len(self.models) > 1 else None
        purpose: Purpose = "train" if self.action == "build" else "test"
        return Wanted(
            purpose, since, until, self.words, self.answer_tokens, self.temperature, self.seed,
            (None, second),
        )  # fmt: skip


def instruct(job: Job) -> dict[str, Any]:
    """Run the job.

    Returns:
        The record: counts, settings, the file, and how many questions were asked.

    Raises:
        UsageError: If the file is not one of threads, or the target is not free.
        PrerequisiteError: If the model cannot be reached; rerun the command to resume.
        NothingPassedError: If no thread is left.
    """
    wanted, state = job.wanted, State.open()
    if job.action == "build":
        check_set(job.out, sources=[job.raw], overwrite=job.overwrite)
    elif wanted.until is not None and wanted.since is not None:
        window = job.out / window_name(wanted.since, wanted.until, job.kind)
        check_file(window, sources=[job.raw], overwrite=job.overwrite)
    threads, unusable = read_threads(job.raw)
    store = Store(state.store)
    corpora = [load_corpus(ref, cache=store) for ref in job.references]
    texts = [text for corpus in corpora for text in corpus.documents]
    with _session(job, state) as session:
        who = f"{session.kind} {session.spec.model} {without_login(_address(session) or '')}"
        file = state.root / "instruct" / "answers.sqlite"
        with Answers(file, who, _asker(session, job), report) as answers:
            found = select(threads, wanted, answers, references=texts, unusable=unusable)
        label = session.label
    record = _record(job, wanted, found, len(threads) + unusable) | {
        "designer": label,
        "references": {corpus.name: corpus.digest for corpus in corpora},
    }
    if not found.items:
        counts = ", ".join(f"{count} {reason}" for reason, count in found.rejected.items())
        raise NothingPassedError(f"no thread of {job.raw} is left ({counts}); nothing was written")
    path = _write(job, wanted, found, record)
    spent = {"asked": answers.asked, "known": answers.known, "tokens": answers.tokens}
    return record | spent | {"file": str(path), "digest": digest_file(path)}


def _write(job: Job, wanted: Wanted, found: Selection, record: dict[str, Any]) -> Path:
    if job.action == "build":
        return write_training_set(job.out, found.items, record, job.kind)
    newest = max(item.date for item in found.items)
    since, until = wanted.since or min(i.date for i in found.items), wanted.until or newest
    window = job.out / window_name(since, until, job.kind)
    check_file(window, sources=[job.raw], overwrite=job.overwrite)
    return write_window(job.out, found.items, since, until, job.kind)


def _record(job: Job, wanted: Wanted, found: Selection, rows: int) -> dict[str, Any]:
    return {
        "version": VERSION,
        "purpose": wanted.purpose,
        "raw": job.raw.name,
        "raw_digest": digest_file(job.raw),
        "since": None if wanted.since is None else wanted.since.isoformat(),
        "until": None if wanted.until is None else wanted.until.isoformat(),
        "overlap_words": wanted.overlap_words,
        "rows": rows,
        "kept": len(found.items),
        "share_8_words": found.near,
        "rejected": dict(found.rejected),
        "models": list(job.models),
        "temperature": wanted.temperature,
        "seed": wanted.seed,
        "answer_tokens": wanted.answer_tokens,
    }


@contextmanager
def _session(job: Job, state: State) -> Iterator[DesignerSession]:
    """Yield the designer, which starts at the first question without a recorded answer."""
    folder = job.designer.removeprefix(f"{FILES}:") if job.designer.startswith(FILES) else None
    spec = DesignerSpec(
        kind=FILES if folder is not None else job.designer,  # type: ignore[arg-type]
        model=job.models[0] if job.models else None,
        also_models=tuple(job.models[1:]),
        base_url=job.base_url,
        answer_tokens=job.answer_tokens,
        prompt_tokens=CONTEXT_TOKENS // 2,
    )
    mailbox = None if folder is None else Mailbox(Path(folder).expanduser(), "instruct")
    session = DesignerSession(spec, state, mailbox=mailbox)
    if spec.also_models and session.kind != "openai":
        raise UsageError(
            f"--designer-model names two models, and {session.kind} asks one; name one, or take "
            "--designer openai"
        )
    if mailbox is not None:
        mailbox.check()
    try:
        yield session
    finally:
        session.close()


def _address(session: DesignerSession) -> str | None:
    return session.spec.base_url or os.environ.get("OPENAI_BASE_URL")


def _asker(session: DesignerSession, job: Job) -> Asker:
    def ask(questions: Sequence[Ask], keep: Keep) -> None:
        if session.mailbox is not None:
            ask_in_files(session.mailbox, questions, keep)
        elif session.kind in ON_THIS_MACHINE:
            one_by_one(session.designer())(questions, keep)
        else:
            # Opened before threads ask for it.
            designers = {name: session.designer(name) for name in (None, *session.spec.also_models)}
            with Asking(
                questions, lambda one: answer_of(designers[one.request.model], one.request), keep
            ) as asking:
                for _ in asking.rest():
                    continue

    return ask


def ask_in_files(
    mailbox: Mailbox, questions: Sequence[Ask], keep: Keep, look_s: float = LOOK_SECONDS
) -> None:
    """Post questions in a folder, :data:`OPEN_FILES` at a time, and wait for the answers.

    Args:
        mailbox: The folder.
        questions: The questions.
        keep: Called with each answer.
        look_s: Seconds between polls.
    """
    ahead, lying = list(reversed(questions)), dict[str, tuple[Ask, Question]]()
    while ahead or lying:
        while ahead and len(lying) < OPEN_FILES:
            one = ahead.pop()
            stage = one.step_id.partition(".")[0]
            question = Question(mailbox.run, one.step_id, stage, one.request, {})
            mailbox.post(question)
            lying[question.id] = one, question
        arrived = {name: reply for name in lying if (reply := mailbox.look(name)) is not None}
        for name, reply in arrived.items():
            one, question = lying.pop(name)
            keep(one, Answer(reply.text, tokens=reply.usage.total))
            mailbox.copy(question, reply)
            mailbox.remove(name)
        if not arrived:
            time.sleep(look_s)


def _first_of(text: str) -> date:
    last_day(text)  # refuses what is no date
    day = first_day(text)
    assert day is not None
    return day
