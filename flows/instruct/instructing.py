"""The work of ``autoprune instruct``: which designer to ask, what to make of the threads."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
from autoprune.instruct.writing import check_set, window_name
from autoprune.search.spec import DesignerSpec
from autoprune.store import Store
from autoprune.targets import check_file
from autoprune.text.corpora import load_corpus
from flows.instruct.params import InstructParams
from flows.params.fields import FILES
from flows.search.asking import Asking
from flows.terminal.console import report
from tasks.design import ON_THIS_MACHINE, DesignerSession
from tasks.state import State, without_login

# Most questions in a folder at once, and the interval at which it is polled.
OPEN_FILES = 64
LOOK_SECONDS = 0.5
CONTEXT_TOKENS = 32768


def target(params: InstructParams, state: State) -> Path:
    """Folder of the training set, or of the windows; the suite ``live`` looks in the usual one."""
    return Path(params.out).expanduser() if params.out else state.live


def wanted_of(params: InstructParams) -> Wanted:
    """The request in the library's form."""
    since = None if params.since is None else _first_of(params.since)
    until = None if params.until is None else last_day(params.until)
    if since is not None and until is not None and since > until:
        raise UsageError(f"--from {params.since} is after --until {params.until}; swap them")
    second = params.models[1] if len(params.models) > 1 else None
    purpose: Purpose = "train" if params.builds else "test"
    return Wanted(
        purpose, since, until, params.overlap_words or 0, params.answer_tokens, params.temperature,
        params.seed, (None, second),
    )  # fmt: skip


def instruct(params: InstructParams, state: State) -> dict[str, Any]:
    """Make what is asked for."""
    wanted, out, raw = wanted_of(params), target(params, state), params.threads
    if params.builds:
        check_set(out, sources=[raw], overwrite=params.overwrite)
    elif wanted.until is not None and wanted.since is not None:
        window = out / window_name(wanted.since, wanted.until, params.format)
        check_file(window, sources=[raw], overwrite=params.overwrite)
    threads, unusable = read_threads(raw)
    store = Store(state.store)
    corpora = [load_corpus(ref, cache=store) for ref in params.references]
    texts = [text for corpus in corpora for text in corpus.documents]
    with _session(params, state) as session:
        who = _who(session)
        file = state.root / "instruct" / "answers.sqlite"
        with Answers(file, who, _asker(session), report) as answers:
            found = select(threads, wanted, answers, references=texts, unusable=unusable)
        label = session.label
    record = _record(params, wanted, found, len(threads) + unusable) | {
        "designer": label,
        "references": {corpus.name: corpus.digest for corpus in corpora},
    }
    if not found.items:
        counts = ", ".join(f"{count} {reason}" for reason, count in found.rejected.items())
        raise NothingPassedError(f"no thread of {raw} is left ({counts}); nothing was written")
    path = _write(params, out, wanted, found, record)
    spent = {"asked": answers.asked, "known": answers.known, "tokens": answers.tokens}
    return record | spent | {"file": str(path), "digest": digest_file(path)}


def _write(
    params: InstructParams, out: Path, wanted: Wanted, found: Selection, record: dict[str, Any]
) -> Path:
    if params.builds:
        return write_training_set(out, found.items, record, params.format)
    newest = max(item.date for item in found.items)
    since, until = wanted.since or min(i.date for i in found.items), wanted.until or newest
    window = out / window_name(since, until, params.format)
    check_file(window, sources=[params.threads], overwrite=params.overwrite)
    return write_window(out, found.items, since, until, params.format)


def _record(params: InstructParams, wanted: Wanted, found: Selection, rows: int) -> dict[str, Any]:
    return {
        "version": VERSION,
        "purpose": wanted.purpose,
        "raw": params.threads.name,
        "raw_digest": digest_file(params.threads),
        "since": None if wanted.since is None else wanted.since.isoformat(),
        "until": None if wanted.until is None else wanted.until.isoformat(),
        "overlap_words": wanted.overlap_words,
        "rows": rows,
        "kept": len(found.items),
        "share_8_words": found.near,
        "rejected": dict(found.rejected),
        "models": params.models,
        "temperature": wanted.temperature,
        "seed": wanted.seed,
        "answer_tokens": wanted.answer_tokens,
    }


@contextmanager
def _session(params: InstructParams, state: State) -> Iterator[DesignerSession]:
    """Yield the designer, which starts at the first question without a recorded answer."""
    in_files = params.designer.startswith(FILES)
    folder = params.designer.removeprefix(FILES) if in_files else None
    spec = DesignerSpec(
        kind="files" if in_files else params.designer,  # type: ignore[arg-type]
        model=params.models[0] if params.models else None,
        also_models=tuple(params.models[1:]),
        base_url=params.base_url,
        answer_tokens=params.answer_tokens,
        prompt_tokens=CONTEXT_TOKENS // 2,
    )
    mailbox = None if folder is None else Mailbox(Path(folder), "instruct")
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


def _who(session: DesignerSession) -> str:
    """Whose answers they are: another one's are not taken."""
    place: object = ""
    if session.mailbox is not None:
        place = session.mailbox.folder
    elif session.kind == "openai":
        # Without a name, whatever it serves: it is not asked where all answers are known.
        place = without_login(_address(session) or "")
    elif session.kind == "local" and session.spec.model is not None:
        # Another file of that name is another model.
        place = digest_file(session.named_file())
    return f"{session.kind} {session.spec.model} {place}"


def _address(session: DesignerSession) -> str | None:
    return session.spec.base_url or os.environ.get("OPENAI_BASE_URL")


def _asker(session: DesignerSession) -> Asker:
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
    """Post questions in a folder, :data:`OPEN_FILES` at a time, and wait for the answers."""
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
    last_day(text)  # refuses what is not a date
    day = first_day(text)
    assert day is not None
    return day
