"""A fingerprint of the text a model was made with, kept with its weights.

A later measurement can then tell which test text the model has seen, without storing the text: the
fingerprint holds only hashes of its word n-grams, eight bytes each, and nothing readable. Texts
and paragraphs shorter than an n-gram are hashed as a whole.
"""

import functools
import hashlib
import operator
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from autoprune.digest import digest_bytes
from autoprune.errors import DamagedFileError
from autoprune.models.record import RECORD_FILE
from autoprune.models.reference import ModelSource, model_folder
from autoprune.storage import atomic_file
from autoprune.store import Store
from autoprune.text.beginning import special_ids
from autoprune.text.corpora import load_corpus
from autoprune.text.hygiene import LEAST_WORDS, SIZES, words

if TYPE_CHECKING:
    from torch import Tensor

FILE = "seen_text.npz"

Hashes = NDArray[np.uint64]

_BLANK_LINE = re.compile(r"\n\s*\n")


@dataclass(frozen=True)
class SeenText:
    """Sorted 64-bit hashes of all word n-grams, by length of the n-gram.

    The hashes for length ``n`` include those of whole texts and paragraphs with fewer than ``n``
    but at least :data:`~autoprune.text.hygiene.LEAST_WORDS` words.

    For a million n-grams against a million, the chance that two different ones share a hash is
    below 1e-9, so a hit counts as the same words.
    """

    grams: dict[int, Hashes]

    @classmethod
    def of(cls, texts: Iterable[str], sizes: Sequence[int] = SIZES) -> "SeenText":
        """Compute the fingerprint of ``texts``; no n-gram spans two of them."""
        known: dict[str, int] = {}
        found: dict[int, list[Hashes]] = {n: [np.empty(0, np.uint64)] for n in sizes}
        for text in texts:
            paragraphs = [_word_hashes(part, known) for part in _BLANK_LINE.split(text)]
            ids = np.concatenate(paragraphs)
            short = [piece for piece in (ids, *paragraphs) if len(piece) >= LEAST_WORDS]
            for n in sizes:
                found[n] += [_gram_hashes(piece, len(piece)) for piece in short if len(piece) < n]
                if len(ids) >= n:
                    found[n].append(_gram_hashes(ids, n))
        return cls({n: np.unique(np.concatenate(parts)) for n, parts in found.items()})

    @property
    def digest(self) -> str:
        """SHA-256 of the hashes."""
        return digest_bytes(b"".join(self.grams[n].tobytes() for n in sorted(self.grams)))

    def __or__(self, other: "SeenText") -> "SeenText":
        sizes = self.grams.keys() & other.grams.keys()
        return SeenText({n: np.union1d(self.grams[n], other.grams[n]) for n in sorted(sizes)})

    def shared(self, texts: Sequence[str], n: int) -> list[tuple[int, int]]:
        """For each text, how many of its n-grams were seen, and how many it has.

        A text of fewer than ``n`` words counts as one n-gram. It was seen if it occurred as a whole
        text or paragraph, or if all of its shorter n-grams were seen. A text of fewer than
        ``LEAST_WORDS`` words has none.
        """
        if n not in self.grams:
            raise ValueError(f"no n-grams of {n} words here; there are {sorted(self.grams)}")
        known: dict[str, int] = {}
        return [self._count(_word_hashes(text, known), n) for text in texts]

    def _count(self, ids: Hashes, n: int) -> tuple[int, int]:
        if len(ids) >= n:
            hits = _among(_gram_hashes(ids, n), self.grams[n])
            return int(hits.sum()), len(hits)
        if len(ids) < LEAST_WORDS:
            return 0, 0
        tries = [(len(ids), n), *((m, m) for m in self.grams if m < n and m <= len(ids))]
        seen = (_among(_gram_hashes(ids, length), self.grams[held]) for length, held in tries)
        return int(any(hits.all() for hits in seen)), 1

    def save(self, path: Path) -> None:
        """Write it as ``.npz``, atomically."""
        with atomic_file(path) as temporary, temporary.open("wb") as stream:
            np.savez(stream, allow_pickle=False, **{str(n): v for n, v in self.grams.items()})

    @classmethod
    def load(cls, path: Path) -> "SeenText":
        """Inverse of :meth:`save`."""
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return cls({int(name): arrays[name].astype(np.uint64) for name in arrays.files})
        except (ValueError, BadZipFile, OSError, EOFError) as error:
            raise DamagedFileError(
                f"{path} is not a readable fingerprint of seen text ({error}); prune the model "
                "again, or delete the file if you know what the model was calibrated on"
            ) from error


def is_finished(folder: Path) -> bool:
    """Whether a model was saved here together with the fingerprint of its text."""
    return (folder / RECORD_FILE).is_file() and (folder / FILE).is_file()


def known_text(models: Iterable[str]) -> SeenText | None:
    """Return what is known about the text that models were made with; None if nothing is."""
    folders = [folder for folder in map(model_folder, models) if folder is not None]
    files = [folder / FILE for folder in folders if (folder / FILE).is_file()]
    return united(map(SeenText.load, files))


def seen_before(source: ModelSource) -> SeenText | None:
    """Return what is known about the text that a model here was made with; None if nothing is."""
    file = source.folder / FILE
    return SeenText.load(file) if source.gguf_file is None and file.is_file() else None


def seen_in(windows: "Iterable[Tensor]", tokenizer: Any) -> SeenText | None:
    """Return the text of token windows; None if there are none."""
    ids = [part.flatten().tolist() for part in windows]
    texts = [tokenizer.decode(part, skip_special_tokens=True) for part in ids]
    marks = special_ids(tokenizer) if ids else set()
    turns = [turn for part in ids for turn in _turns(part, tokenizer, marks)]
    return SeenText.of([*texts, *turns]) if texts else None


def _turns(ids: list[int], tokenizer: Any, marks: set[int]) -> Iterator[str]:
    """What stands between special tokens, and each without its first line, which may name a role.

    Decoded as one text, a short question would stand in one paragraph with what is around it.
    """
    pieces = [list(piece) for mark, piece in groupby(ids, marks.__contains__) if not mark]
    for piece in pieces if len(pieces) > 1 else ():
        text = tokenizer.decode(piece, skip_special_tokens=True).strip()
        yield text
        yield text.partition("\n")[2].strip()


def united(parts: Iterable[SeenText | None]) -> SeenText | None:
    """Return all of these texts as one; None if nothing is known."""
    known = [part for part in parts if part is not None]
    return functools.reduce(operator.or_, known) if known else None


def referenced_text(refs: Iterable[str], store: Store, tokenizer: Any) -> SeenText:
    """Compute the fingerprint of named texts."""
    corpora = [load_corpus(ref, cache=store, tokenizer=tokenizer) for ref in refs]
    return SeenText.of([text for corpus in corpora for text in corpus.documents])


def _among(hashes: Hashes, known: Hashes) -> NDArray[np.bool_]:
    """Which of ``hashes`` are in the sorted array ``known``."""
    if not len(known):
        return np.zeros(len(hashes), np.bool_)
    places = np.minimum(np.searchsorted(known, hashes), len(known) - 1)
    found: NDArray[np.bool_] = known[places] == hashes
    return found


def _word_hashes(text: str, known: dict[str, int]) -> Hashes:
    for word in (found := words(text)):
        if word not in known:
            digest = hashlib.blake2b(word.encode(), digest_size=8).digest()
            known[word] = int.from_bytes(digest, "little")
    return np.array([known[word] for word in found], np.uint64)


def _gram_hashes(ids: Hashes, n: int) -> Hashes:
    # Odd factors from a fixed seed: the same on every machine, and sensitive to word order.
    factors = np.random.default_rng(n).integers(1, 2**63, n, dtype=np.uint64) | np.uint64(1)
    grams = sliding_window_view(ids, n)
    hashes = np.zeros(len(grams), np.uint64)
    for column, factor in enumerate(factors):
        # One round of mixing, so that sums of products do not cancel.
        part = grams[:, column] * factor
        hashes += part ^ (part >> np.uint64(29))
    return hashes
