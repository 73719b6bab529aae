r"""Training sets and dated windows out of forum threads (AoPS-Instruct, arXiv 2501.14275).

Threads are filtered by date, copies and overlap with benchmarks, a model says which posts are
problems and which replies solve them and rewrites each twice, and only answers on which both
rewrites agree are kept. :func:`select` takes any function that answers a prompt.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Literal

from autoprune.digest import digest_json
from autoprune.errors import UsageError
from autoprune.evaluation.grading.extraction import boxed_answer
from autoprune.evaluation.grading.grader import Grader
from autoprune.evaluation.suites.dated import DATE_COLUMNS, day_range
from autoprune.storage import atomic_file
from autoprune.text.hygiene import References

# Answers a prompt at a temperature with a seed.
Ask = Callable[[str, float, int], str]
Purpose = Literal["train", "test"]
# Shared words in a row that leave an item out.
OVERLAP_WORDS: Mapping[Purpose, int] = {"train": 10, "test": 8}
_LONGEST_POST = 6_000
_MOST_REPLIES = 12
_MOST_SOLUTIONS = 3

_CLASSIFY = (
    "Does the post below ask one mathematical problem that is complete and has a definite final "
    "answer? Write 1 for yes or 0 for no, and nothing else."
)
_EXTRACT = (
    "Which replies solve the problem of the post and reach a final answer? Write one line, "
    "ANSWERS: and the numbers of these replies with commas between, the best first, or ANSWERS: "
    "none."
)
_REWRITE = (
    "Rewrite the problem so that it is complete in itself, and the reply's solution step by step, "
    "every step justified, with the final answer inside \\boxed{}. Write exactly two parts:\n"
    "Question: the problem\nSolution: the worked solution"
)
_THOUGHTS = re.compile(r"^.*</think>|<think>.*\Z", re.S)
_FLAG = re.compile(r"(?<![\d.])[01](?![\d.]*\d)")
_CHOSEN = re.compile(r"answers\W*:(.*)", re.I | re.S)
_PARTS = re.compile(
    r"^\W*question\W*?[:\n](?P<question>.+?)\n\W*solution\W*?[:\n](?P<solution>.+)",
    re.I | re.S | re.M,
)
_LINK = re.compile(r"https?://|www\.|\[(?:img|attachment)\b|!\[|\\includegraphics", re.I)
# Questions without one answer that can be graded.
_UNTESTABLE = {
    "proof": re.compile(r"\b(?:prove|proof|show that|disprove|q\.?\s?e\.?\s?d)\b", re.I),
    "figure": re.compile(r"\b(?:figures?|diagrams?|pictured|shown below)\b", re.I),
    "several_questions": re.compile(r"\A\s*(?:1[.)](?!\d)|\(?a\))|\?.*\?.*\?", re.S),
}


@dataclass(frozen=True)
class Thread:
    """A first post with its replies, and the days on which it may have become public."""

    id: str
    first_day: date
    last_day: date
    post: str
    replies: tuple[str, ...]


@dataclass(frozen=True)
class Item:
    """A rewritten problem; ``votes`` is the number of replies that lead to its answer."""

    id: str
    date: date
    question: str
    solution: str
    answer: str
    votes: int


@dataclass(frozen=True)
class Selection:
    """Items in the order of their threads, and the number of other threads by reason."""

    items: tuple[Item, ...]
    rejected: Mapping[str, int]


def read_threads(path: Path) -> list[Thread]:
    """Threads of a ``.jsonl`` file; lines without a date or a post are left out.

    A line is ``{"id": "7", "date": "2023-05-01", "posts": ["question", "reply"]}``.

    Raises:
        UsageError: If the file cannot be read or holds no thread.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
        rows = [json.loads(line) for line in lines if line.strip()]
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path} cannot be read ({error}); pass a .jsonl file") from error
    found = [thread for number, row in enumerate(rows, 1) if (thread := _thread(row, number))]
    if not found:
        raise UsageError(f"{path} holds no thread with a date and posts")
    return found


def _thread(row: Any, number: int) -> Thread | None:
    if not isinstance(row, dict):
        return None
    days = next((found for key in DATE_COLUMNS if (found := day_range(row.get(key)))), None)
    posts = row.get("posts")
    texts = [one.get("text") if isinstance(one, dict) else one for one in posts or ()]
    # Half of a character that was cut in two can be neither written nor digested.
    posts = [str(text).encode("utf-8", "replace").decode().strip() for text in texts if text]
    return (
        Thread(str(row.get("id", number)), *days, posts[0], (*posts[1:],))
        if days and posts
        else None
    )


def select(
    threads: Sequence[Thread],
    ask: Ask,
    *,
    purpose: Purpose = "train",
    since: date | None = None,
    until: date | None = None,
    references: Sequence[str] = (),
    answers: Path | None = None,
    temperature: float = 0.7,
    seed: int = 0,
) -> Selection:
    """Choose threads, have them rewritten, and keep those that pass every check.

    Args:
        threads: As :func:`read_threads` gives them.
        ask: Who is asked.
        purpose: A ``test`` question must have one answer that can be graded.
        since: First day; a thread that may be older is left out.
        until: Last day; a thread that may be younger is left out.
        references: Texts, such as benchmarks, with which no item may share 10 words in a row (8 in
            a test set).
        answers: File that keeps every answer, so that an interrupted call pays nothing twice.
        temperature: Of the two rewrites.
        seed: Of the first rewrite; the second has the next one.
    """
    asked = _Kept(ask, answers)
    known = References(references, OVERLAP_WORDS[purpose], short_references=True)
    rejected: Counter[str] = Counter()
    items: list[Item] = []
    posts: set[str] = set()
    questions: set[str] = set()
    with Grader() as grader:
        for thread in threads:
            reason = _refusal(thread, purpose, since, until, known, posts)
            found = reason or _item(thread, asked, grader, temperature, seed)
            # A model may write down what it knows by heart, so its words are checked again.
            if isinstance(found, Item):
                found = _refused_text(found.question, purpose, known, questions) or found
            if isinstance(found, Item):
                items.append(found)
            else:
                rejected[found] += 1
    return Selection(tuple(items), dict(sorted(rejected.items())))


class _Kept:
    """Asks each question once; a file keeps the answers."""

    def __init__(self, ask: Ask, file: Path | None) -> None:
        self._ask, self._file = ask, file
        self._known: dict[str, str] = {}
        if file is not None and file.is_file():
            for line in file.read_text(encoding="utf-8").split("\n"):
                try:
                    self._known |= json.loads(line)
                except ValueError:
                    # The last line of a killed process.
                    continue

    def __call__(self, task: str, text: str, temperature: float = 0.0, seed: int = 0) -> str:
        prompt = f"{task}\n\n{text}"
        key = digest_json([prompt, temperature, seed])
        if key not in self._known:
            self._known[key] = self._ask(prompt, temperature, seed)
            if self._file is not None:
                with self._file.open("a", encoding="utf-8") as file:
                    file.write(json.dumps({key: self._known[key]}) + "\n")
        return _THOUGHTS.sub("", self._known[key])


def _refusal(
    thread: Thread,
    purpose: Purpose,
    since: date | None,
    until: date | None,
    known: References,
    seen: set[str],
) -> str | None:
    """Why a thread is left out before anybody is asked."""
    if until is not None and thread.last_day > until:
        return "too_young"
    if not thread.replies:
        return "no_reply"
    if since is not None and thread.first_day < since:
        # A newer thread may copy it.
        seen.add(_same(thread.post))
        return "too_old"
    return _refused_text(thread.post, purpose, known, seen)


def _refused_text(text: str, purpose: Purpose, known: References, seen: set[str]) -> str | None:
    same = _same(text)
    copy = same in seen
    seen.add(same)
    if copy:
        return "duplicate"
    if _LINK.search(text):
        return "link"
    if purpose == "test":
        for reason, pattern in _UNTESTABLE.items():
            if pattern.search(text):
                return reason
    return "contaminated" if known.shared_by([text]) else None


def _same(text: str) -> str:
    """Words and signs of mathematics, in order: equal for copies of a post."""
    # Brackets around words alone and an exclamation mark that is no factorial are no mathematics.
    plain = re.sub(r"[(\[]([\w\s]*)[)\]]", r" \1 ", text.casefold())
    return " ".join(re.findall(r"\w+|[-+*/^%|()\[\]{}=<>]|!(?=\s*[-+*/^=)])", plain))


def _item(thread: Thread, ask: _Kept, grader: Grader, temperature: float, seed: int) -> Item | str:
    """The item of the answer that most replies lead to, or why there is none."""
    post = f"Post:\n{thread.post[:_LONGEST_POST]}"
    flag = _FLAG.search(ask(_CLASSIFY, post))
    if flag is None or flag[0] == "0":
        return "no_question" if flag else "unreadable_answer"
    replies = [reply[:_LONGEST_POST] for reply in thread.replies[:_MOST_REPLIES]]
    shown = [f"Reply {number}:\n{reply}" for number, reply in enumerate(replies, 1)]
    listed = _CHOSEN.search(ask(_EXTRACT, "\n\n".join([post, *shown])))
    numbers = [int(digits) - 1 for digits in re.findall(r"\d{1,9}", listed[1] if listed else "")]
    chosen = [number for number in dict.fromkeys(numbers) if 0 <= number < len(replies)]
    if not chosen:
        return "no_solution" if listed else "unreadable_answer"
    groups: list[list[tuple[str, str, str]]] = []
    reasons = []
    for number in chosen[:_MOST_SOLUTIONS]:
        text = f"{post}\n\nReply:\n{replies[number]}"
        first, second = (
            _rewritten(ask(_REWRITE, text, temperature, seed + sample)) for sample in (0, 1)
        )
        if isinstance(first, str) or isinstance(second, str):
            reasons.append(first if isinstance(first, str) else str(second))
        elif not grader.grade(first[2], second[2]).correct:
            reasons.append("disagree")
        else:
            same = (group for group in groups if grader.grade(first[2], group[0][2]).correct)
            if (group := next(same, None)) is None:
                groups.append([first])
            else:
                group.append(first)
    groups.sort(key=len, reverse=True)
    if not groups:
        return reasons[0]
    if len(groups) > 1 and len(groups[0]) == len(groups[1]):
        return "tie"
    return Item(thread.id, thread.first_day, *groups[0][0], len(groups[0]))


def _rewritten(text: str) -> tuple[str, str, str] | str:
    """Question, solution and answer of a rewrite, or why they cannot be read."""
    found = _PARTS.search(text)
    if found is None:
        return "unreadable_answer"
    question, solution = found["question"].strip(" *\n"), found["solution"].strip(" *\n")
    answer = boxed_answer(solution)
    return (question, solution, answer) if answer is not None else "no_box"


def write_training_set(path: Path, items: Iterable[Item]) -> None:
    """Write conversations as ``.jsonl``, ready as a calibration text: ``path#messages``."""
    _write(
        path,
        (
            {
                "messages": [
                    {"role": "user", "content": item.question},
                    {"role": "assistant", "content": item.solution},
                ],
                "answer": item.answer,
                "date": item.date.isoformat(),
                "id": item.id,
            }
            for item in items
        ),
    )


def write_window(folder: Path, items: Iterable[Item], since: date, until: date) -> Path:
    """Write a dated test set, which the suite ``live`` finds by its name; return the file."""
    path = folder / f"{since.isoformat()}--{until.isoformat()}.jsonl"
    kept = ("id", "question", "answer")
    _write(
        path,
        ({"date": i.date.isoformat()} | {key: getattr(i, key) for key in kept} for i in items),
    )
    return path


def _write(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    with atomic_file(path) as temporary:
        # A model may write halves of surrogate pairs, which are not text.
        temporary.write_bytes("".join(lines).encode("utf-8", "replace"))
