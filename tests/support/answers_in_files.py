"""A synthetic search whose designer answers in files, and somebody who does."""

from collections.abc import Callable

from autoprune.design.chat import ChatRequest, Reply
from autoprune.design.mailbox import Mailbox
from autoprune.search import DesignerSpec, Search
from autoprune.search.steps import Done, Outcome, Propose
from flows.search.posting import Posting, budget_left
from tests.support.synthetic import Synthetic, make_spec, write_answer

SPEC = make_spec(designer=DesignerSpec(kind="files", model="Ada"))


def request_of(box: Mailbox, name: str) -> ChatRequest:
    body = box.read_question(name)
    assert body is not None
    return ChatRequest.from_json(body)


def answer_some(box: Mailbox, wanted: Callable[[int], bool] = lambda place: True) -> list[str]:
    """Answer open questions as the synthetic designer does; which, by their place."""
    names = [name for name in box.open_ids() if not box.is_answered(name)]
    chosen = [name for place, name in enumerate(names) if wanted(place)]
    for name in chosen:
        box.answer(name, write_answer(request_of(box, name)))
    return chosen


def play(search: Search, box: Mailbox, between: Callable[[], object], *, wait: bool) -> None:
    """Drive to the end; ``between`` is what whoever answers does while the search waits."""
    search.overlapping = True
    driver = Synthetic()

    def received(step: Propose, reply: Reply) -> Outcome:
        return reply

    while not isinstance((steps := search.open_steps())[0], Done):
        asked = [step for step in steps if isinstance(step, Propose)]
        left = budget_left(search)
        keep = search.keep
        waiting = Posting(asked, box, left, received, keep, wait=wait, note=lambda _: between())
        for step in steps:
            if not isinstance(step, Propose):
                keep(step, driver.answer(step))
                search.settle()
        for _ in waiting.rest():
            search.settle()
