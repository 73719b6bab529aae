"""Choose a split of texts whose sealed part nobody has looked at."""

from collections.abc import Callable, Sequence

from autoprune.errors import UsageError
from autoprune.text.corpus import Corpus
from autoprune.text.splits import Splits, split

# A text of a handful of documents has few different sealed sets, so the search for one must end.
MOST_TRIES = 200


def fresh_splits(
    texts: Sequence[Corpus],
    is_numbered: Callable[[Corpus, int], bool],
    is_read: Callable[[Splits], bool],
    is_held: Callable[[Splits], bool],
    first: int = 0,
) -> list[Splits]:
    """Return the splits of the lowest number whose sealed sets nobody has looked at."""
    number, tries = first, 0
    while tries < MOST_TRIES:
        spent = any(not text.ordered and is_numbered(text, number) for text in texts)
        drawn = [] if spent else [split(text, number) for text in texts]
        tries += bool(drawn)
        pairs = list(zip(texts, drawn, strict=False))
        read = [
            text for text, parts in pairs if is_read(parts) or (is_held(parts) and not text.ordered)
        ]
        if drawn and not read:
            return drawn
        for text in read:
            if text.ordered:
                raise UsageError(
                    f"the documents of {text.name!r} follow each other, so every number gives the "
                    "same sealed text, and that was looked at; take another text, or --text-split "
                    "0 and state the number of looks"
                )
        number += 1
    names = ", ".join(repr(text.name) for text in texts)
    raise UsageError(
        f"{MOST_TRIES} splits of {names} gave no sealed set that nobody has looked at; take a text "
        "of more documents, or name a number with --text-split and state the number of looks"
    )
