r"""What the model is asked about a thread, and how its answers are read.

Three questions, after AoPS-Instruct (arXiv 2501.14275, section 3): is the first post a question,
which replies answer it, and question and solution rewritten step by step with ``\boxed{}``.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from autoprune.design.chat import Message
from autoprune.design.fields import without_thoughts
from autoprune.evaluation.grading.extraction import boxed_answer

# Longer posts and threads are cut: what follows is seldom a solution, and models read no more.
LONGEST_POST = 6_000
MOST_REPLIES = 12

_SYSTEM = "You turn threads of a mathematics forum into problems with worked solutions."
# Cut off; where they end, templates may have opened them in the prompt.
_OPEN_THOUGHTS = re.compile(r"<think>.*\Z", re.S)
_FLAG = re.compile(r"(?<![\d.])[01](?![\d.]*\d)")
_CHOSEN = re.compile(r"(?:answers|^\W*answer)\W*:\W*(.*)", re.I | re.M)
# Each begins a line, as a heading, in bold or behind a number.
_PARTS = re.compile(
    r"^[\W\d_]*question[\s*_]*(?::|$)[\s*_:]*(.+?)\n[\W\d_]*solution[\s*_]*(?::|$)[\s*_:]*(.+)",
    re.I | re.S | re.M,
)


@dataclass(frozen=True)
class Rewritten:
    """Question and solution in the model's words.

    Args:
        question: Complete in itself.
        solution: Worked, step by step.
        answer: What the solution boxes; None where it boxes nothing.
    """

    question: str
    solution: str
    answer: str | None


def classify(post: str) -> tuple[Message, ...]:
    """Is the post a question?"""
    return _messages(
        "Does the post below ask one mathematical problem that is complete and has a definite "
        "final answer? Write 1 for yes or 0 for no, and nothing else.",
        f"Post:\n{_cut(post)}",
    )


def read_flag(text: str) -> bool | None:
    """The answer to :func:`classify`; None where it holds neither 1 nor 0."""
    found = _FLAG.search(_spoken(text))
    return None if found is None else found[0] == "1"


def extract(post: str, replies: Sequence[str]) -> tuple[Message, ...]:
    """Which replies answer the post?"""
    shown = [f"Reply {n}:\n{_cut(reply)}" for n, reply in enumerate(replies[:MOST_REPLIES], 1)]
    return _messages(
        "Which replies solve the problem of the post and reach a final answer? Write one line, "
        "ANSWERS: and the numbers of these replies with commas between, the best first, or "
        "ANSWERS: none.",
        "\n\n".join([f"Post:\n{_cut(post)}", *shown]),
    )


def read_chosen(text: str, count: int) -> list[int] | None:
    """Indices of the replies chosen by the answer to :func:`extract`; None: not readable."""
    unknown = False
    for found in _CHOSEN.finditer(_spoken(text)):
        before, none, _ = found[1].lower().partition("none")
        numbers = [int(number) - 1 for number in re.findall(r"\d{1,9}", before)]
        chosen = [n for n in dict.fromkeys(numbers) if 0 <= n < min(count, MOST_REPLIES)]
        if chosen or (none and not numbers):
            return chosen
        # "Reply 1 answers: 42 is right" comes before the line that was asked for.
        unknown |= bool(numbers)
    return [] if unknown else None


def rewrite(post: str, reply: str) -> tuple[Message, ...]:
    """Question and solution in clear words."""
    return _messages(
        "Rewrite the problem so that it is complete in itself, and the reply's solution step by "
        "step, every step justified, with the final answer inside \\boxed{}. Follow the reply's "
        "way; correct a slip where you find one. Write exactly two parts:\n"
        "Question: the problem\nSolution: the worked solution",
        f"Post:\n{_cut(post)}\n\nReply:\n{_cut(reply)}",
    )


def read_rewritten(text: str) -> Rewritten | None:
    """The two parts of the answer to :func:`rewrite`; None where they are not there."""
    found = _PARTS.search(_spoken(text))
    if found is None:
        return None
    question, solution = found[1].strip(), found[2].strip()
    return Rewritten(question, solution, boxed_answer(solution))


def _messages(task: str, text: str) -> tuple[Message, ...]:
    return Message("system", _SYSTEM), Message("user", f"{task}\n\n{text}")


def _cut(text: str) -> str:
    return text[:LONGEST_POST]


def _spoken(text: str) -> str:
    """The answer without the thoughts before it."""
    return _OPEN_THOUGHTS.sub("", without_thoughts(text))
