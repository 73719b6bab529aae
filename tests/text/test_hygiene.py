"""Exact properties of the n-gram check: what is planted is found, what is shorter is not."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoprune.text.hygiene import (
    check_splits,
    decontaminate,
    overlap,
    words,
)


def text(prefix: str, count: int) -> str:
    return " ".join(f"{prefix}{i}" for i in range(count))


def grams(document: str, n: int) -> set[tuple[str, ...]]:
    found = words(document)
    return {tuple(found[i : i + n]) for i in range(len(found) - n + 1)}


@pytest.mark.parametrize("n", [8, 10])
def test_planted_gram_is_caught_and_one_word_less_is_not(n: int) -> None:
    planted = text("shared", n)
    reference = f"{text('r', 30)} {planted} {text('s', 30)}"
    caught = f"{text('a', 20)} {planted} {text('b', 20)}"
    short = f"{text('a', 20)} {' '.join(planted.split()[:-1])} {text('b', 20)}"
    (found,) = overlap([short, caught], ["nothing here", reference], n)
    assert (found.document, found.other, found.shared) == (1, 1, 1)
    assert found.gram == planted


def test_case_punctuation_and_unicode_forms_do_not_hide_a_copy() -> None:
    a = "The quick, brown FOX — jumps over the lazy dog: once more!"
    b = "the quick brown fox jumps over the lazy dog once more"
    assert overlap([a], [b], 10)
    assert overlap(
        ["ﬁne words one two three four five six seven eight"],
        ["fine WORDS one two three four five six seven eight"],
        10,
    )


def test_script_without_spaces_is_cut_into_characters() -> None:
    assert overlap(["今天天气非常好我们去公园"], ["他说今天天气非常好我们去公园散步"], 10)
    assert not overlap(["今天天气非常好我们吗"], ["他说今天天气非常好我们"], 10)


def test_a_document_shorter_than_an_n_gram_is_looked_up_as_a_whole() -> None:
    short, longer = "What is seven times eight?", "before what is seven times eight after"
    (found,) = overlap(["other words than those", short, "see also"], ["see also", longer], 10)
    assert (found.document, found.other, found.shared) == (1, 1, 1)
    assert found.gram == "what is seven times eight"
    # Nine words of a long document are fewer than ten, wherever they come from.
    assert not overlap([longer + text(" x", 9)], [short], 10)
    assert decontaminate([text("w", 9), text("v", 9)], [text("w", 9)], 10).kept == (1,)


def test_a_reference_shorter_than_an_n_gram_is_looked_up_as_a_whole_where_asked() -> None:
    question = "What is seven times eight?"
    longer = f"{text('a', 9)} what is seven times eight {text('b', 9)}"
    part = f"{text('a', 9)} what is seven times {text('b', 9)}"
    assert not overlap([longer], [question], 10)
    references = [text("r", 30), "see what is also", question]
    (found,) = overlap([part, longer], references, 10, short_references=True)
    assert (found.document, found.other, found.shared) == (1, 2, 1)
    assert found.gram == "what is seven times eight"
    # Four words count and three do not; the longest reference is the one reported.
    assert not overlap([longer], ["what is seven"], 10, short_references=True)
    (found,) = overlap([longer], ["is seven times eight", question], 10, short_references=True)
    assert found.other == 1
    # An n-gram of the usual length comes first.
    whole = f"{longer} {text('r', 10)}"
    (found,) = overlap([whole], references, 10, short_references=True)
    assert (found.other, found.gram) == (0, text("r", 10))
    clean = decontaminate([part, longer], references, 10, short_references=True)
    assert clean.kept == (0,) and decontaminate([part, longer], references, 10).kept == (0, 1)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.text("ab ", max_size=60), max_size=6),
    st.lists(st.text("ab ", max_size=60), max_size=6),
    st.integers(1, 5),
)
def test_agrees_with_sets_and_leaves_no_intersection(a: list[str], b: list[str], n: int) -> None:
    # A short document of four words is an n-gram of its own length.
    lengths = [min(n, max(4, len(words(document)))) for document in a]
    known = {k: set().union(*(grams(document, k) for document in b)) for k in {*lengths}}
    clean = decontaminate(a, b, n)
    expected = [i for i, k in enumerate(lengths) if not grams(a[i], k) & known[k]]
    assert list(clean.kept) == expected
    assert [entry.document for entry in clean.dropped] == sorted(set(range(len(a))) - set(expected))
    for entry in clean.dropped:
        gram = tuple(entry.gram.split())
        assert gram in grams(b[entry.other], len(gram)) and len(gram) == lengths[entry.document]


def test_splits_that_share_text_are_named() -> None:
    shared = text("w", 9)
    splits = {
        "calibration": [text("c", 50), f"{shared} and more"],
        "selection": [text("e", 50)],
        "sealed": [f"x {shared} y"],
    }
    reports = check_splits(splits)
    assert [(r.first, r.second, r.n) for r in reports if r.overlaps] == [
        ("calibration", "sealed", 8)
    ]


def test_empty_sets_and_wrong_length() -> None:
    assert overlap([], [], 10) == overlap(["", "one"], [""], 10) == []
    with pytest.raises(ValueError, match="below 1"):
        overlap(["a"], ["a"], 0)
