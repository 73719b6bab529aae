"""Looks at the sealed part of the compared text: who counts them."""

from collections.abc import Callable
from typing import Protocol

from autoprune.report.sealed import SealedSet
from autoprune.text.splits import Splits


class SealedLooks(Protocol):
    """Counts the looks of one comparison at sealed text, each before it is taken."""

    def noting(self, run: str) -> Callable[..., None]:
        """Return what notes the looks of a cell."""
        ...

    def earlier_looks(self, splits: Splits) -> SealedSet:
        """Return what looked at the sealed part before this comparison."""
        ...

    def count(self, splits: Splits) -> int:
        """Return the number of looks at the sealed part so far."""
        ...


class OwnLooks:
    """The looks of one bench alone, kept cells included, where nobody keeps a ledger."""

    def __init__(self) -> None:
        self._runs: dict[str, set[str]] = {}

    def noting(self, run: str) -> Callable[..., None]:
        """See :class:`SealedLooks`."""

        def note(text: str, whole: str, splits: Splits | None = None) -> None:
            self._runs.setdefault(text, set()).add(run)

        return note

    def earlier_looks(self, splits: Splits) -> SealedSet:
        """See :class:`SealedLooks`; none is known."""
        documents = len(set(splits.sealed_documents))
        digest = splits.sealed.digest
        return SealedSet(splits.number, splits.corpus, digest, documents=documents)

    def count(self, splits: Splits) -> int:
        """See :class:`SealedLooks`."""
        texts = (splits.sealed.digest, splits.whole)
        return len(set().union(*(self._runs.get(text, ()) for text in texts)))
