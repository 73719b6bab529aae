"""The pipeline: threads in, items with an answer that two independent rewrites agree on out.

After AoPS-Instruct and LiveAoPSBench (arXiv 2501.14275, sections 3.1 and 3.2). What costs nothing
is looked at first, and the model is asked stage by stage about all threads that are left, so that
any number of questions is under way at once.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Literal

from autoprune.design.chat import ChatRequest, Message
from autoprune.evaluation.grading.grader import Grader
from autoprune.instruct import questions
from autoprune.instruct.answers import CUT_OFF, Answer, Answers, Ask
from autoprune.instruct.rules import untestable_reason, unusable_reason
from autoprune.instruct.threads import Thread
from autoprune.text.hygiene import Overlap, decontaminate

Purpose = Literal["train", "test"]
# 1: the wording of the questions and the order of the rules; 2: signs tell posts apart, and
# answers that were cut off do not count.
VERSION = 2
TRAIN_WORDS, TEST_WORDS = 10, 8
# Solutions of one thread that are rewritten.
MOST_SOLUTIONS = 3
# What may differ between two copies of a problem: brackets around words alone, emphasis, an
# exclamation mark that is no factorial, and a hyphen between words.
_AROUND_WORDS = re.compile(r"[(\[{]([\w\s]*)[)\]}]")
_NO_SIGN = re.compile(
    r"(?<!\S)\*\*(?=\w)|(?<=\w)\*\*(?!\w)|!(?!\s*[-+*/^=)\]}|])|(?<=[^\W\d]{2})-(?=[^\W\d]{2})"
)
_PIECE, _SIGNS = re.compile(r"\w+|[^\w\s]"), frozenset("-*/^%!|()[]{}")


@dataclass(frozen=True)
class Wanted:
    """What is made.

    Args:
        purpose: ``train`` or ``test``: a test question must have one answer that can be graded.
        since: Threads that may be older are left out; None: no bound.
        until: Threads that may be younger are left out; None: no bound.
        words: Shared words in a row that leave an item out; 0: 10 to train on, 8 to test with.
        answer_tokens: Limit of one answer of the model, thoughts included.
        temperature: Of the two rewrites; all else is asked at temperature 0.
        seed: Of the first rewrite; the second has the next one.
        models: Who writes the first and the second rewrite, names at one endpoint; None: its first.
    """

    purpose: Purpose
    since: date | None = None
    until: date | None = None
    words: int = 0
    answer_tokens: int = 2048
    temperature: float = 0.7
    seed: int = 0
    models: tuple[str | None, str | None] = (None, None)

    @property
    def overlap_words(self) -> int:
        """Shared words in a row that leave an item out."""
        return self.words or (TRAIN_WORDS if self.purpose == "train" else TEST_WORDS)


@dataclass(frozen=True)
class Item:
    """One problem.

    Args:
        id: Of its thread.
        date: The first day on which it may have been public.
        question: Rewritten, complete in itself.
        solution: Rewritten, worked step by step; of the first reply of the majority.
        answer: What both rewrites box, in the first one's form.
        source: Where its thread comes from.
        votes: Replies whose rewrites agree on this answer.
    """

    id: str
    date: date
    question: str
    solution: str
    answer: str
    source: str
    votes: int


@dataclass(frozen=True)
class Selection:
    """What came of the threads; ``len(items)`` and all of ``rejected`` add up to the rows.

    Args:
        items: In the order of the file.
        rejected: Threads left out, by reason.
        near: Of the items, those that share 8 words in a row with a reference.
    """

    items: tuple[Item, ...]
    rejected: Mapping[str, int]
    near: int = 0


@dataclass
class _Filtered:
    """Threads that are left, by their place in the file, and reasons of the others."""

    left: dict[int, Thread]
    rejected: Counter[str] = field(default_factory=Counter)

    def drop(self, number: int, reason: str) -> None:
        del self.left[number]
        self.rejected[reason] += 1


def select(
    threads: Sequence[Thread],
    wanted: Wanted,
    answers: Answers,
    *,
    references: Sequence[str] = (),
    unusable: int = 0,
) -> Selection:
    """Choose threads, have them rewritten, and keep those that pass every check."""
    filtered = _Filtered(dict(enumerate(threads)))
    filtered.rejected["unusable_row"] += unusable
    older = _by_date(filtered, wanted)
    _by_text(filtered, wanted, references, older)
    _classify(filtered, wanted, answers)
    chosen = _extract(filtered, wanted, answers)
    items = _rewrite(filtered, wanted, answers, chosen)
    return _finish(filtered, wanted, items, references)


def _by_date(filtered: _Filtered, wanted: Wanted) -> set[str]:
    """Leave out threads of other days; return the posts of older ones, which newer may copy."""
    older = set()
    for number, thread in list(filtered.left.items()):
        # A day that is not known, such as in "2023", may be older and too young at once.
        may_be_older = wanted.since is not None and thread.first_day < wanted.since
        if may_be_older:
            older.add(_same(thread.post))
        if wanted.until is not None and thread.last_day > wanted.until:
            filtered.drop(number, "too_young")
        elif may_be_older:
            filtered.drop(number, "too_old")
    return older


def _same(text: str) -> str:
    """What two texts share of which one is a copy: words and signs of mathematics, in order."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    # All dashes are one sign; a prime is one only before a bracket, as in f'(x).
    plain = "".join("-" if unicodedata.category(c) == "Pd" or c == "\u2212" else c for c in plain)
    plain = plain.replace("'(", "\u2032(")
    plain = re.sub(r"\\(?![a-z])", "", plain).replace("\\", " \u2200")
    while (bare := _AROUND_WORDS.sub(r" \1 ", plain)) != plain:
        plain = bare
    kept = (
        piece
        for piece in _PIECE.findall(_NO_SIGN.sub(" ", plain))
        if len(piece) > 1
        or piece.isalnum()
        or piece in _SIGNS
        or piece == "\u2032"
        or unicodedata.category(piece) == "Sm"
    )
    return " ".join(kept) or text


def _by_text(
    filtered: _Filtered, wanted: Wanted, references: Sequence[str], older: Collection[str]
) -> None:
    seen = set(older)
    for number, thread in list(filtered.left.items()):
        same = _same(thread.post)
        reason = (
            "no_reply" if not thread.replies
            else "duplicate" if same in seen
            else unusable_reason(thread.post)
        )  # fmt: skip
        if reason is None and wanted.purpose == "test":
            reason = untestable_reason(thread.post)
        # Nobody answered it, but perhaps a copy of it.
        if thread.replies:
            seen.add(same)
        if reason is not None:
            filtered.drop(number, reason)
    numbers = list(filtered.left)
    posts = [thread.post for thread in filtered.left.values()]
    for overlap in _near(posts, references, wanted.overlap_words):
        filtered.drop(numbers[overlap.document], "contaminated")


def _classify(filtered: _Filtered, wanted: Wanted, answers: Answers) -> None:
    threads = dict(filtered.left)
    asks = [_ask("classify", n, questions.classify(t.post), wanted) for n, t in threads.items()]
    for number, answer in zip(threads, answers.all("classify", asks), strict=True):
        flag = questions.read_flag(answer.text)
        if flag is not True:
            filtered.drop(number, _unread(answer) if flag is None else "no_question")


def _extract(filtered: _Filtered, wanted: Wanted, answers: Answers) -> dict[int, list[int]]:
    """Replies with a solution, by thread."""
    threads = dict(filtered.left)
    asks = [
        _ask("extract", number, questions.extract(thread.post, thread.replies), wanted)
        for number, thread in threads.items()
    ]
    chosen: dict[int, list[int]] = {}
    for number, answer in zip(threads, answers.all("extract", asks), strict=True):
        found = questions.read_chosen(answer.text, len(threads[number].replies))
        if found:
            chosen[number] = found[:MOST_SOLUTIONS]
        else:
            filtered.drop(number, _unread(answer) if found is None else "no_solution")
    return chosen


def _rewrite(
    filtered: _Filtered, wanted: Wanted, answers: Answers, chosen: Mapping[int, Sequence[int]]
) -> dict[int, Item]:
    asks = [
        _ask(f"rewrite.{'ab'[sample]}{reply}", number, questions.rewrite(
            filtered.left[number].post, filtered.left[number].replies[reply]
        ), wanted, sample)
        for number, replies in chosen.items() for reply in replies for sample in (0, 1)
    ]  # fmt: skip
    given = iter(answers.all("rewrite", asks))
    items: dict[int, Item] = {}
    with Grader() as grader:
        for number, replies in chosen.items():
            pairs = [(next(given), next(given)) for _ in replies]
            found = _agreed(filtered.left[number], pairs, grader)
            if isinstance(found, Item):
                items[number] = found
            else:
                filtered.drop(number, found)
    return items


def _agreed(thread: Thread, pairs: Sequence[tuple[Answer, Answer]], grader: Grader) -> "Item | str":
    """The item of the answer that most replies lead to, or why there is none."""
    groups: list[list[questions.Rewritten]] = []
    reasons: list[str] = []
    for pair in pairs:
        first, second = (questions.read_rewritten(answer.text) for answer in pair)
        if first is None or second is None:
            reasons.append(_unread(pair[0] if first is None else pair[1]))
        elif first.answer is None or second.answer is None:
            reasons.append("no_box")
        elif not grader.grade(first.answer, second.answer).correct:
            reasons.append("disagree")
        else:
            answer = first.answer
            same = (g for g in groups if grader.grade(answer, g[0].answer or "").correct)
            group = next(same, None)
            groups.append([first]) if group is None else group.append(first)
    if not groups:
        return reasons[0]
    groups.sort(key=len, reverse=True)
    if len(groups) > 1 and len(groups[0]) == len(groups[1]):
        return "tie"
    best = groups[0][0]
    assert best.answer is not None
    return Item(
        thread.id, thread.first_day, best.question, best.solution, best.answer, thread.source,
        len(groups[0]),
    )  # fmt: skip


def _finish(
    filtered: _Filtered, wanted: Wanted, items: dict[int, Item], references: Sequence[str]
) -> Selection:
    """The rules once more, on what was rewritten: a model may write down what it knows by heart."""
    seen: set[str] = set()
    for number, item in list(items.items()):
        same = _same(item.question)
        reason = "duplicate" if same in seen else None
        if reason is None and wanted.purpose == "test":
            text = "\\text" in item.answer
            reason = "text_answer" if text else untestable_reason(item.question)
        seen.add(same)
        if reason is not None:
            filtered.drop(number, reason)
            del items[number]
    numbers = list(items)
    texts = [item.question for item in items.values()]
    for overlap in _near(texts, references, wanted.overlap_words):
        filtered.drop(numbers[overlap.document], "contaminated")
        del items[numbers[overlap.document]]
    near = _near([item.question for item in items.values()], references, TEST_WORDS)
    rejected = {reason: count for reason, count in sorted(filtered.rejected.items()) if count}
    return Selection(tuple(items.values()), rejected, len(near))


def _near(texts: Sequence[str], references: Sequence[str], n: int) -> Sequence[Overlap]:
    """Texts that share words with a reference, which may be shorter than an n-gram."""
    return decontaminate(texts, references, n, short_references=True).dropped


def _ask(
    stage: str,
    number: int,
    messages: tuple[Message, ...],
    wanted: Wanted,
    sample: int | None = None,
) -> Ask:
    settings: dict[str, Any] = {"temperature": 0.0, "seed": wanted.seed, "model": wanted.models[0]}
    if sample is not None:
        settings["temperature"] = wanted.temperature
        settings["seed"] = wanted.seed + sample
        settings["model"] = wanted.models[sample]
    return Ask(f"{stage}.{number}", ChatRequest(messages, wanted.answer_tokens, **settings))


def _unread(answer: Answer) -> str:
    if answer.code == CUT_OFF:
        return CUT_OFF
    return "refused" if answer.code else "unreadable_answer"
