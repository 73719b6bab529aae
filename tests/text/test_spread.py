"""Windows are spread over all documents and all places in them; every draw alike."""

from collections import Counter
from pathlib import Path
from statistics import fmean

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from autoprune.text import corpus as corpora
from autoprune.text.corpus import Corpus
from autoprune.text.splits import NAMES, Splits, split
from autoprune.text.spread import spread_order
from autoprune.text.windows import fewer_than_asked, token_windows
from tests.support.tiny_texts import DOCUMENTS, marked_document, marks, word_tokenizer

LENGTH = 300
SEQLEN = 64


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return word_tokenizer(begins=True)


@pytest.fixture(scope="module")
def splits() -> Splits:
    texts = [marked_document(number, LENGTH) for number in range(DOCUMENTS)]
    return split(Corpus.of("marked", texts))


def middles(tokenizer: PreTrainedTokenizerFast, windows: Tensor) -> list[tuple[int, float]]:
    """Document and relative place of the middle of every window."""
    found = []
    for row in windows.tolist():
        pairs = marks(tokenizer, row)
        document, place = pairs[len(pairs) // 2]
        found.append((document, place / LENGTH))
    return found


def documents_of(corpus: Corpus) -> set[int]:
    return {int(text.split()[0][1:]) for text in corpus.documents}


@pytest.mark.parametrize("name", NAMES)
def test_as_many_windows_as_documents_see_every_document_once(
    tokenizer: PreTrainedTokenizerFast, splits: Splits, name: str
) -> None:
    corpus = getattr(splits, name)
    there = documents_of(corpus)
    for turns in (1, 2, 4):
        windows = token_windows(corpus, tokenizer, turns * len(there), SEQLEN)
        found = middles(tokenizer, windows)
        assert Counter(document for document, _ in found) == dict.fromkeys(there, turns)
        thirds = Counter(min(int(place * 3), 2) for _, place in found)
        assert all(abs(thirds[third] / len(found) - 1 / 3) < 0.12 for third in range(3)), thirds


@pytest.mark.parametrize("count", [1, 3, 10, 40])
def test_the_first_windows_of_a_larger_draw_are_the_smaller_one(
    tokenizer: PreTrainedTokenizerFast, splits: Splits, count: int
) -> None:
    many = token_windows(splits.sealed, tokenizer, 60, SEQLEN)
    assert torch.equal(token_windows(splits.sealed, tokenizer, count, SEQLEN), many[:count])


def test_all_windows_are_those_of_the_whole_text_each_once(
    tokenizer: PreTrainedTokenizerFast, splits: Splits
) -> None:
    windows = token_windows(splits.sealed, tokenizer, 10_000, SEQLEN)
    seen = Counter(pair for row in windows.tolist() for pair in marks(tokenizer, row))
    assert set(seen.values()) == {1}
    # Windows hold 63 words; a word at an edge is no pair, and the tail of the text is dropped.
    total = len(documents_of(splits.sealed)) * LENGTH
    assert len(windows) == 2 * total // (SEQLEN - 1)
    assert sum(seen.values()) >= total - len(windows) - SEQLEN // 2
    assert len({tuple(row) for row in windows.tolist()}) == len(windows)


def test_documents_shorter_than_a_window_join(tokenizer: PreTrainedTokenizerFast) -> None:
    corpus = Corpus.of("short", [marked_document(number, 20) for number in range(DOCUMENTS)])
    windows = token_windows(split(corpus).calibration, tokenizer, 5, SEQLEN)
    assert len(windows) == 5
    for row in windows.tolist():
        assert len({document for document, _ in marks(tokenizer, row)}) >= 2


def test_a_text_in_order_is_spread_over_its_places(tokenizer: PreTrainedTokenizerFast) -> None:
    rows = [f"d0 p{place}" for place in range(900)]
    part = split(Corpus.of("book.txt", rows, ordered=True)).sealed
    there = [int(text.split()[1][1:]) for text in part.documents]
    first, last = there[0], there[-1]
    windows = token_windows(part, tokenizer, 4, 32)
    places = [marks(tokenizer, row)[0][1] for row in windows.tolist()]
    quarters = {int(4 * (place - first) / (last - first + 1)) for place in places}
    assert len(quarters) >= 3


def test_the_seed_decides_the_order(tokenizer: PreTrainedTokenizerFast) -> None:
    texts = [marked_document(number, LENGTH) for number in range(DOCUMENTS)]
    one, same, other = (split(Corpus.of("c", texts), seed) for seed in (0, 0, 1))
    cut = [token_windows(part.sealed, tokenizer, 8, SEQLEN) for part in (one, same, other)]
    assert torch.equal(cut[0], cut[1])
    assert not torch.equal(cut[0], cut[2])


def test_a_passage_left_out_leaves_the_others_in_place(
    tokenizer: PreTrainedTokenizerFast, splits: Splits
) -> None:
    part = splits.sealed
    left = part.subset(range(1, len(part.documents)))
    gone = part.documents[0].split()
    lost = set(zip(gone[::2], gone[1::2], strict=True))
    windows = token_windows(left, tokenizer, 10_000, SEQLEN)
    seen = {
        (f"d{document}", f"p{place}")
        for row in windows.tolist()
        for document, place in marks(tokenizer, row)
    }
    assert not lost & seen
    assert {document for document, _ in seen} == {f"d{n}" for n in documents_of(part)}


def test_draws_are_of_one_distribution(tokenizer: PreTrainedTokenizerFast) -> None:
    """Leads are marked by their place: no draw has more of them than another, over many seeds."""
    texts = [marked_document(number, LENGTH) for number in range(DOCUMENTS)]
    corpus = Corpus.of("marked", texts)
    leads: dict[int, list[float]] = {0: [], 1: [], 2: []}
    places: dict[int, list[float]] = {0: [], 1: [], 2: []}
    distinct: dict[int, list[int]] = {0: [], 1: [], 2: []}
    for seed in range(12):
        part = split(corpus, seed).calibration
        for draw in leads:
            windows = token_windows(part.draw(draw), tokenizer, 12, SEQLEN)
            found = middles(tokenizer, windows)
            leads[draw].append(fmean(place < 0.2 for _, place in found))
            places[draw].append(fmean(place for _, place in found))
            distinct[draw].append(len({document for document, _ in found}))
    for draw in leads:
        assert fmean(leads[draw]) == pytest.approx(0.2, abs=0.05), leads
        assert fmean(places[draw]) == pytest.approx(0.5, abs=0.04), places
        # Twelve windows of twelve documents each time.
        assert set(distinct[draw]) == {12}


def test_draws_differ(tokenizer: PreTrainedTokenizerFast, splits: Splits) -> None:
    part = splits.calibration
    cut = [token_windows(part.draw(draw), tokenizer, 12, SEQLEN) for draw in range(3)]
    rows = [{tuple(row) for row in windows.tolist()} for windows in cut]
    assert all(len(a & b) <= 3 for a in rows for b in rows if a is not b)
    assert part.draw(0) is part


@pytest.mark.parametrize("owners", [[], [0], [0, 0, 0, 1, 2, 2], [0] * 50 + [1] * 3])
def test_the_order_is_a_permutation(owners: list[int]) -> None:
    order = spread_order(owners, "0 sealed")
    assert sorted(order) == list(range(len(owners)))
    firsts = [owners[window] for window in order[: len(set(owners))]]
    assert sorted(firsts) == sorted(set(owners))


def test_a_note_says_that_the_text_has_fewer() -> None:
    assert fewer_than_asked("the sealed part of x", 100, 100, 512) == ""
    note = fewer_than_asked("the sealed part of x", 37, 100, 512)
    assert "holds 37 windows of 512 tokens and 100 are asked for: figures are of all 37" in note


def test_a_tokenizer_that_keeps_no_places_spreads_too(
    splits: Splits, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    class Slow:
        """The same tokens, without places."""

        def __call__(self, text: str, **options: bool) -> "Encoded":
            return Encoded(tokenizer(text, **options)["input_ids"])

        def get_vocab(self) -> dict[str, int]:
            vocabulary: dict[str, int] = tokenizer.get_vocab()
            return vocabulary

    class Encoded(dict[str, list[int]]):
        is_fast = False

        def __init__(self, ids: list[int]) -> None:
            super().__init__(input_ids=ids)

    there = documents_of(splits.sealed)
    windows = token_windows(splits.sealed, Slow(), len(there), SEQLEN)
    found = {document for document, _ in middles(tokenizer, windows)}
    assert len(found) >= len(there) - 2


def test_one_long_text_calibrates_by_stretches_of_all_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(corpora, "READ_CHARACTERS", 6400)
    paragraphs = [f"{number:04d}" + "x" * 46 for number in range(1000)]
    whole = Corpus.of("long", paragraphs, ordered=True)
    read = [int(text[:4]) for text in whole.for_calibration(0).documents]
    # 50,000 characters are eight times as many: one stretch of 100 characters in eight.
    assert read == [n for n in range(1000) if n % 16 < 2]
    short = Corpus.of("short", paragraphs[:100], ordered=True)
    assert short.for_calibration(0).documents == short.documents
    # Of independent documents, which are sampled when windows are cut, all stay.
    assert len(Corpus.of("rows", paragraphs).for_calibration(0).documents) == 1000
