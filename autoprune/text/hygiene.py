"""Word n-gram overlap between sets of documents: find, report, drop or refuse it.

Ten words is the usual length for training against test data; eight is stricter (LiveAoPSBench,
arXiv 2501.14275, uses 10 for its training set and 8 for its test set). A shorter document has no
n-gram of that length, so it is looked up as a whole.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from autoprune.errors import AutopruneError

SIZES = (8, 10)
# Anything shorter is a heading or a phrase that texts share by chance.
LEAST_WORDS = 4

# Scripts written without spaces count each character as a word; otherwise a whole sentence is one.
_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")


class ContaminationError(AutopruneError):
    """Sets of documents that must be disjoint share text; exit code 1."""


@dataclass(frozen=True)
class Overlap:
    """One document that shares text with another set.

    Args:
        document: Index in the first set.
        other: Index, in the second set, of the document with the first shared n-gram.
        shared: How many n-grams of the document occur in the second set.
        gram: The first shared n-gram, normalised.
    """

    document: int
    other: int
    shared: int
    gram: str


@dataclass(frozen=True)
class Decontamination:
    """What a filter kept and dropped; indices refer to the given documents."""

    n: int
    kept: tuple[int, ...]
    dropped: tuple[Overlap, ...]


@dataclass(frozen=True)
class PairReport:
    """Overlap of two named sets at one n-gram length."""

    first: str
    second: str
    n: int
    checked: int
    overlaps: tuple[Overlap, ...]


def words(text: str) -> list[str]:
    """Normalised words of ``text``: NFKC, case folded, punctuation removed."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


class References:
    """Texts whose word n-grams others must not share, indexed once for many comparisons."""

    def __init__(
        self, documents: Sequence[str], n: int = 10, *, short_references: bool = False
    ) -> None:
        if n < 1:
            raise ValueError(f"n-gram length {n} is below 1; 8 and 10 are usual")
        self._n = n
        self._vocabulary: dict[str, int] = {}
        self._documents = [_numbered(words(text), self._vocabulary) for text in documents]
        found = self._documents if short_references else ()
        short = {len(ids) for ids in found if LEAST_WORDS <= len(ids) < n}
        # By number, so that owners are counted as in the whole set.
        self._short = [
            _GramIndex([ids if len(ids) == length else ids[:0] for ids in found], length)
            for length in sorted(short, reverse=True)
        ]

    @cached_property
    def _whole(self) -> "_GramIndex":
        return _GramIndex(self._documents, self._n)

    def shared_by(self, documents: Sequence[str]) -> list[Overlap]:
        """Documents that share at least one n-gram with these texts; see :func:`overlap`."""
        texts = [words(text) for text in documents]
        numbered = [_numbered(text, self._vocabulary) for text in texts]
        found: dict[int, Overlap] = {}

        def look(index: _GramIndex, length: int | None = None) -> None:
            for number, ids in enumerate(numbered):
                if number in found or length not in (None, len(ids)):
                    continue
                if hit := index.find(ids):
                    position, other, shared = hit
                    gram = " ".join(texts[number][position : position + index.n])
                    found[number] = Overlap(number, other, shared, gram)

        # One at a time: an index takes many times the memory of its texts.
        for length in sorted({len(ids) for ids in numbered if LEAST_WORDS <= len(ids) < self._n}):
            look(_GramIndex(self._documents, length), length)
        for index in (self._whole, *self._short):
            look(index)
        return [found[number] for number in sorted(found)]


def overlap(
    documents_a: Sequence[str],
    documents_b: Sequence[str],
    n: int = 10,
    *,
    short_references: bool = False,
) -> list[Overlap]:
    """Documents of the first set that share at least one word n-gram with the second.

    A document of fewer than ``n`` words, but at least ``LEAST_WORDS``, counts as one n-gram: it
    shares text if all of it occurs in a document of the second set.
    """
    return References(documents_b, n, short_references=short_references).shared_by(documents_a)


def decontaminate(
    documents: Sequence[str],
    references: Sequence[str],
    n: int = 10,
    *,
    short_references: bool = False,
) -> Decontamination:
    """Drop every document that shares a word n-gram with a reference; see :func:`overlap`."""
    dropped = tuple(overlap(documents, references, n, short_references=short_references))
    gone = {entry.document for entry in dropped}
    return Decontamination(n, tuple(i for i in range(len(documents)) if i not in gone), dropped)


def check_splits(
    splits: Mapping[str, Sequence[str]], sizes: Sequence[int] = SIZES
) -> list[PairReport]:
    """Compare every pair of named sets at every n-gram length."""
    return [
        PairReport(first, second, n, len(splits[first]), tuple(overlap(splits[first], other, n)))
        for first, second in combinations(splits, 2)
        for other in [splits[second]]
        for n in sizes
    ]


Ids = NDArray[np.int64]


class _GramIndex:
    """Sorted 64-bit hashes of all n-grams of a set, with the words to verify a hit."""

    def __init__(self, documents: Sequence[Ids], n: int) -> None:
        self.n = n
        usable = [(number, ids) for number, ids in enumerate(documents) if len(ids) >= n]
        grams = [sliding_window_view(ids, n) for _, ids in usable]
        self._grams = np.concatenate(grams) if grams else np.empty((0, n), np.int64)
        owners = [np.full(len(g), number) for (number, _), g in zip(usable, grams, strict=True)]
        self._owner = np.concatenate(owners) if owners else np.empty(0, np.int64)
        hashes = self._hash(self._grams)
        # Stable, so that equal n-grams stay in document order and the first one is reported.
        self._order = np.argsort(hashes, kind="stable")
        self._hashes = hashes[self._order]

    def find(self, ids: Ids) -> tuple[int, int, int] | None:
        """First shared n-gram of a document: its position, its owner in the set, number shared."""
        if len(ids) < self.n or not len(self._hashes):
            return None
        grams = sliding_window_view(ids, self.n)
        hashes = self._hash(grams)
        low = np.searchsorted(self._hashes, hashes, side="left")
        candidates = np.flatnonzero(self._hashes[np.minimum(low, len(self._hashes) - 1)] == hashes)
        hits = [(p, o) for p in candidates if (o := self._owner_of(grams[p], low[p])) is not None]
        if not hits:
            return None
        position, owner = hits[0]
        return int(position), owner, len(hits)

    def _owner_of(self, gram: Ids, start: int) -> int | None:
        value = self._hashes[start]
        for slot in range(start, len(self._hashes)):
            if self._hashes[slot] != value:
                return None
            if np.array_equal(self._grams[self._order[slot]], gram):
                return int(self._owner[self._order[slot]])
        return None

    def _hash(self, grams: Ids) -> NDArray[np.uint64]:
        factors = np.random.default_rng(self.n).integers(1, 2**63, self.n, dtype=np.uint64) | 1
        hashes = np.zeros(len(grams), np.uint64)
        # Column by column: the full product would take n times the memory of the text.
        for column, factor in enumerate(factors):
            hashes += (grams[:, column].astype(np.uint64) + np.uint64(1)) * factor
        return hashes


def _numbered(found: Sequence[str], vocabulary: dict[str, int]) -> Ids:
    return np.array([vocabulary.setdefault(w, len(vocabulary)) for w in found], np.int64)
