"""Splits are disjoint, stable, checked for overlap, and start with many documents."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoprune.errors import UsageError
from autoprune.text.corpora import Corpus
from autoprune.text.splits import NAMES, split

_WORDS = [f"w{i}" for i in range(2000)]


def _documents(count: int, words: int = 120, seed: int = 0) -> list[str]:
    rng = random.Random(seed)
    return [f"Title{i}\n\n" + " ".join(rng.choices(_WORDS, k=words)) for i in range(count)]


def _titles(corpus: Corpus) -> set[str]:
    return {part for d in corpus.documents for part in d.split() if part.startswith("Title")}


def test_parts_are_disjoint_and_complete() -> None:
    splits = split(Corpus.of("c", _documents(30)))
    parts = [_titles(getattr(splits, name)) for name in NAMES]
    assert sum(map(len, parts)) == 30
    assert len(set.union(*parts)) == 30
    assert [len(part) for part in parts] == pytest.approx([12, 9, 9], abs=1)
    assert not splits.shared


def test_the_order_of_the_corpus_does_not_matter_and_the_seed_does() -> None:
    documents = _documents(30)
    first = split(Corpus.of("c", documents))
    assert split(Corpus.of("c", documents[::-1])).digest == first.digest
    assert split(Corpus.of("c", documents), seed=1).digest != first.digest


def test_documents_that_share_text_are_dropped_and_reported() -> None:
    documents = _documents(30)
    first = split(Corpus.of("c", documents))
    copied = next(d for d in documents if d.split()[0] in _titles(first.sealed))
    thief = next(d for d in documents if d.split()[0] in _titles(first.calibration))
    # The long tail changes neither document's place enough to matter: place follows from the text.
    for number in range(200):
        changed = [*documents, f"Copy{number} " + copied.split("\n\n")[1] + thief]
        splits = split(Corpus.of("c", changed))
        hits = [e for e in splits.shared if e.opening.startswith(f"Copy{number}")]
        if hits and {e.split for e in hits} == {"calibration"}:
            break
    else:
        pytest.fail("no copy fell into the calibration part")
    assert all(e.dropped and e.ratio > 0.3 for e in hits)
    assert f"Copy{number}" not in splits.calibration.text


def test_a_long_document_that_holds_a_short_one_is_dropped_for_what_it_holds() -> None:
    documents = _documents(30, words=40)
    long = "Long " + " ".join(f"x{number}" for number in range(6000))
    first = split(Corpus.of("c", [*documents, long]), seed=1)
    assert "Long" in first.calibration.text
    sealed = next(d for d in documents if d.split()[0] in _titles(first.sealed))
    for number in range(200):
        changed = [*documents, f"Long{number} {long} {sealed}"]
        splits = split(Corpus.of("c", changed), seed=1)
        hits = [e for e in splits.shared if e.opening.startswith(f"Long{number}")]
        if {(e.split, e.other) for e in hits} == {("calibration", "sealed")}:
            break
    else:
        pytest.fail("no long document fell into the calibration part")
    (hit,) = hits
    assert hit.dropped and hit.ratio < 0.01
    assert f"Long{number}" not in splits.calibration.text


def test_a_long_document_may_share_a_sentence_with_one_of_another_part() -> None:
    shared = " ".join(f"s{number}" for number in range(15))
    documents = [f"{d} {shared}" for d in _documents(30, words=400)]
    splits = split(Corpus.of("c", documents))
    assert splits.shared and not any(e.dropped for e in splits.shared)


def test_a_part_starts_with_all_of_its_documents() -> None:
    splits = split(Corpus.of("c", ["\n\n".join(_documents(9, 200, seed)) for seed in range(12)]))
    part = splits.calibration
    count = len(_titles(part)) // 9 or 1
    assert len({d.split()[1] for d in part.documents[:count]}) == count


def test_an_ordered_text_is_cut_into_stretches() -> None:
    documents = _documents(20)
    splits = split(Corpus.of("book.txt", documents, ordered=True))
    joined = [d for name in NAMES for d in getattr(splits, name).documents]
    assert joined == documents


@given(st.lists(st.text(min_size=1, max_size=40), min_size=3, max_size=12), st.booleans())
@settings(max_examples=60, deadline=None)
def test_no_part_is_empty(texts: list[str], ordered: bool) -> None:
    corpus = Corpus.of("c", [f"{i} {t}" for i, t in enumerate(texts)], ordered=ordered)
    splits = split(corpus)
    assert all(getattr(splits, name).documents for name in NAMES)


def test_too_few_documents_are_refused() -> None:
    with pytest.raises(UsageError, match="has 2 documents"):
        split(Corpus.of("c", ["a", "b"]))
