"""Open questions for an agent, with their common beginning given only once; and its answers."""

from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any

from autoprune.design.chat import Usage
from autoprune.design.parsing import LONGEST_ANSWER
from autoprune.errors import UsageError
from flows.agents.project import Project

SHOWN = ("id", "operator", "messages", "schema", "max_tokens", "model")


def shared_once(bodies: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Split questions into what they share and what each has left."""
    questions = [{key: body.get(key) for key in SHOWN} for body in bodies]
    talks: list[list[dict[str, str]]] = [list(body["messages"]) for body in bodies]
    if len(talks) < 2 or any([m["role"] for m in talk[:2]] != ["system", "user"] for talk in talks):
        return {"shared": {}, "questions": questions}
    systems = {talk[0]["content"] for talk in talks}
    if len(systems) > 1:
        return {"shared": {}, "questions": questions}
    lines = [talk[1]["content"].splitlines(keepends=True) for talk in talks]
    # Each question keeps at least one line of its own.
    side_by_side = zip(*(text[:-1] for text in lines), strict=False)
    common = [group[0] for group in takewhile(lambda group: len(set(group)) == 1, side_by_side)]
    for question, talk, text in zip(questions, talks, lines, strict=True):
        own = talk[1] | {"content": "".join(text[len(common) :])}
        question["messages"] = [own, *talk[2:]]
    shared = {"system": systems.pop(), "beginning": "".join(common)}
    return {"shared": shared, "questions": questions}


def give_answers(
    project: Project,
    run: str,
    answers: Mapping[str, str],
    prompt_tokens: int,
    answer_tokens: int,
) -> None:
    """Write answers into a run's folder: all of them or none."""
    box = project.mailbox(run)
    for name, words in answers.items():
        if box.read_question(name) is None:
            waiting = ", ".join(project.waiting(run)) or "none"
            raise UsageError(f"{name!r} is not an open question of {run}; open are: {waiting}")
        if box.is_answered(name):
            raise UsageError(f"{name!r} is answered already; call next_questions")
        if not words.strip() or len(words) > LONGEST_ANSWER:
            raise UsageError(
                f"the answer to {name} has {len(words)} characters; write 1 to {LONGEST_ANSWER}, "
                "only the lines that are asked for"
            )
    if min(prompt_tokens, answer_tokens) < 0 or max(prompt_tokens, answer_tokens) > 10**9:
        raise UsageError("tokens are whole numbers from 0 up; leave them out if unknown")
    if len(answers) > 1 and prompt_tokens + answer_tokens:
        raise UsageError("tokens are those of one answer; leave them out of several")
    for name, words in answers.items():
        box.answer(name, words, Usage(prompt_tokens, answer_tokens))
