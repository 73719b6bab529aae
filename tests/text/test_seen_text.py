"""The fingerprint of seen text: exact on planted n-grams, the same on every machine, readable."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autoprune.errors import DamagedFileError
from autoprune.evaluation.suites.cleaning import Resources, clean
from autoprune.models.reference import ModelSource
from autoprune.text.hygiene import ContaminationError, overlap
from autoprune.text.seen_text import FILE, SeenText, seen_before, seen_in

WORDS = [f"w{i}" for i in range(40)]
documents = st.lists(st.lists(st.sampled_from(WORDS[:6]), max_size=18).map(" ".join), max_size=5)


def test_a_planted_10_gram_is_caught_and_9_words_are_not() -> None:
    seen = SeenText.of([" ".join(WORDS[:20])])
    ten = "before, " + " ".join(WORDS[5:15]).upper() + " after"
    nine = "before " + " ".join(WORDS[5:14]) + " after"
    assert seen.shared([ten, nine], 10) == [(1, 3), (0, 2)]
    assert seen.shared([ten, nine], 8) == [(3, 5), (2, 4)]


@settings(max_examples=60, deadline=None)
@given(first=documents, second=documents)
def test_it_agrees_with_the_exact_check(first: list[str], second: list[str]) -> None:
    seen = SeenText.of(second)
    for n in (8, 10):
        exact = {entry.document: entry.shared for entry in overlap(first, second, n)}
        whole = {text for text in second if 4 <= len(text.split()) < n}
        for i, (hits, _) in enumerate(seen.shared(first, n)):
            if len(first[i].split()) >= n:
                assert hits == exact.get(i, 0)
            else:
                assert hits or first[i] not in whole


def test_a_text_shorter_than_an_n_gram_is_seen_as_a_whole() -> None:
    # As calibration windows are: paragraphs of nine, six and three words in one run of text.
    nine, six, three = " ".join(WORDS[:9]), " ".join(WORDS[20:26]), " ".join(WORDS[30:33])
    seen = SeenText.of(["\n\n".join([nine, six, three])])
    inside = " ".join(WORDS[4:12])
    assert seen.shared([nine, six, three, inside, " ".join(WORDS[21:26])], 10) == [
        (1, 1), (1, 1), (0, 0), (0, 1), (0, 1),
    ]  # fmt: skip
    assert SeenText.of([" ".join(WORDS)]).shared([inside], 10) == [(1, 1)]
    resources = Resources(seen=seen, overlap="refuse")
    with pytest.raises(ContaminationError, match=r"1 of 2 parts .* or all they have"):
        clean([nine, " ".join(WORDS[10:19])], resources, what="the text")
    assert clean([nine, inside], Resources(seen=seen), what="the text").kept == (1,)


class _Marked:
    """Characters by their numbers; 0 is a mark between turns."""

    all_special_ids = (0,)

    def decode(self, ids: list[int], **_: bool) -> str:
        return "".join(chr(number) for number in ids if number)


@pytest.mark.parametrize(
    "talk",
    [
        "\0user\nwhat is the capital of France?\0\n\0assistant\nIt is Paris on the Seine.\0\n",
        "\0user\0\n\nwhat is the capital of France\0\0assistant\0\n\nIt is Paris on the Seine.\0",
    ],
)
def test_a_short_question_of_a_conversation_is_seen(talk: str) -> None:
    found = seen_in([torch.tensor([[ord(letter) for letter in talk]])], _Marked())
    assert found is not None
    short = ["What is the capital of France?", "it is paris on the seine", "the capital of France"]
    assert found.shared(short, 8) == found.shared(short, 10) == [(1, 1), (1, 1), (0, 1)]
    # Text without marks has the fingerprint that it had.
    plain = found_in("what is the capital\n\nof France and of Spain")
    assert plain.digest == SeenText.of(["what is the capital\n\nof France and of Spain"]).digest


def found_in(text: str) -> SeenText:
    found = seen_in([torch.tensor([[0, *map(ord, text)]])], _Marked())
    assert found is not None
    return found


def test_hashes_do_not_depend_on_the_process() -> None:
    seen = SeenText.of(["one two three four five six seven eight"])
    assert seen.grams[8].tolist() == [15280410179660774614]
    again = SeenText.of(["x", "one two three four five six seven eight"])
    assert again.digest == seen.digest


def test_file_there_and_back_and_damage(tmp_path: Path) -> None:
    path = tmp_path / "seen_text.npz"
    seen = SeenText.of([" ".join(WORDS)])
    seen.save(path)
    assert SeenText.load(path).digest == seen.digest
    both = seen | SeenText.of([" ".join(reversed(WORDS))])
    assert len(both.grams[10]) == 2 * len(seen.grams[10])
    assert np.all(np.diff(both.grams[10].astype(object)) > 0)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DamagedFileError, match="seen_text"):
        SeenText.load(path)


def test_what_lies_next_to_a_single_file_says_nothing_about_it(tmp_path: Path) -> None:
    seen = SeenText.of([" ".join(WORDS)])
    seen.save(tmp_path / FILE)
    folder = ModelSource("ref", tmp_path, None, "")
    found = seen_before(folder)
    assert found is not None and found.digest == seen.digest
    assert seen_before(replace(folder, gguf_file="model.gguf")) is None
    assert seen_before(replace(folder, folder=tmp_path / "none")) is None


def test_one_phrase_is_reported_and_a_copied_document_is_dropped() -> None:
    phrase, copied = " ".join(WORDS[:10]), " ".join(WORDS[10:40])
    long = " ".join(f"x{i}" for i in range(400))
    resources = Resources(seen=SeenText.of([" ".join(WORDS)]))
    found = clean([f"{long} {phrase}", f"a {copied} b", long], resources, what="the text")
    assert found.kept == (0, 2)
    assert found.report == {
        "checked": 3, "shared_8": 2, "shared_10": 2, "contaminated": 1, "dropped": 1,
        "policy": "drop",
    }  # fmt: skip
    with pytest.raises(ContaminationError, match="2 of 3 parts of the text share 10 words"):
        clean([f"{long} {phrase}", copied, long], replace(resources, overlap="refuse"),
              what="the text")  # fmt: skip
    with pytest.raises(ContaminationError, match="all 1 parts"):
        clean([copied], resources, what="the text")
    assert clean([copied], Resources(), what="the text").kept == (0,)


def test_calibration_text_is_dropped_for_a_passage_however_long_the_rest() -> None:
    passage = " ".join(f"p{i}" for i in range(59))
    long = " ".join(f"x{i}" for i in range(9000))
    shorter = passage.rpartition(" ")[0]
    texts = [f"{long} {passage}", f"{long} {shorter}", long]
    resources = Resources(seen=SeenText.of([passage]))
    assert clean(texts, resources, what="the text", made=True).kept == (1, 2)
    # Text to measure on is judged by its share: here six words in a thousand were seen.
    assert clean(texts, resources, what="the text").kept == (0, 1, 2)
