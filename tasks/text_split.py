"""Tasks that choose a split by earlier looks, and report how often one was looked at."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autoprune.errors import UsageError
from autoprune.models.loading import load_tokenizer
from autoprune.models.reference import resolve
from autoprune.report.sealed import SealedSet
from autoprune.store import Store
from autoprune.text.corpora import load_corpus
from autoprune.text.fresh_splits import fresh_splits
from autoprune.text.splits import split
from tasks.ledger_file import locked_ledger
from tasks.recorded import task_run
from tasks.sealed_looks import earlier_looks, is_unread
from tasks.state import State

if TYPE_CHECKING:
    from autoprune.text.corpus import Corpus


@dataclass(frozen=True)
class FreshSplit:
    """A split that nobody has looked at.

    Args:
        number: Its number.
        sets: What is known about each text's sealed set of this number.
    """

    number: int
    sets: tuple[SealedSet, ...]


@task_run("choose text split", "a split of {corpora} that nobody has looked at")
def fresh_split(
    state: State,
    corpora: list[str],
    model: str | None = None,
    first: int = 0,
    held: Collection[str] = (),
) -> FreshSplit:
    """Find the lowest number whose sealed sets no run has looked at.

    Looks at a whole text use up no single set: they count as earlier looks at each.
    """
    texts = _texts(state, corpora, model)
    with locked_ledger(state.root) as ledger:
        lines = ledger.lines
    drawn = fresh_splits(
        texts,
        lambda text, number: _is_numbered(lines, text.digest, number),
        lambda parts: not is_unread(lines, parts),
        lambda parts: parts.sealed.digest in held,
        first,
    )
    return FreshSplit(drawn[0].number, tuple(earlier_looks(state, parts) for parts in drawn))


@task_run("check text", "documents of {corpus}")
def check_independent(state: State, corpus: str, model: str) -> None:
    """Refuse a text that has only one sealed set, before a night is spent on it."""
    try:
        (text,) = _texts(state, [corpus], None)
    except UsageError:
        # Conversations alone need a template, and then the model must be there.
        (text,) = _texts(state, [corpus], model)
    if text.ordered:
        raise UsageError(
            f"the documents of {text.name!r} follow each other, as the paragraphs of a .txt file "
            "do: parts of such a text are cut in its order, so that it has one sealed set, and "
            "every night would judge on text that the nights before were chosen by. Where its "
            'paragraphs are independent, write one a line as {"text": "..."} into a .jsonl file; '
            "else take another text, or, in the form of the nightly deployment, set "
            "promote.text_split to a number or switch promote_winner off"
        )


@task_run("look up sealed set", "looks at split {number} of {corpora}")
def known_looks(
    state: State, corpora: list[str], number: int, command: str, model: str | None = None
) -> list[SealedSet]:
    """Earlier looks at the sealed parts of a split."""
    texts = _texts(state, corpora, model)
    return [earlier_looks(state, split(text, number), command) for text in texts]


def _texts(state: State, corpora: list[str], model: str | None) -> "list[Corpus]":
    """The texts as the run itself will read them, since the ledger knows them by digest."""
    tokenizer = None
    if model is not None:
        tokenizer = load_tokenizer(resolve(model))
    store = Store(state.store)
    return [load_corpus(corpus, cache=store, tokenizer=tokenizer) for corpus in corpora]


def _is_numbered(lines: list[dict[str, Any]], whole: str, number: int) -> bool:
    """Whether the ledger has a look at this number; if so, the text need not be split to know."""
    return any(
        (line.get("whole"), line.get("number")) == (whole, number)
        for line in lines
        if "text" in line
    )
