"""Last words: which passages are asked, and exact counts of a model that knows some of them."""

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from autoprune.errors import UsageError
from autoprune.evaluation.suites import build_suite
from autoprune.evaluation.suites.cleaning import Resources
from autoprune.evaluation.suites.comparison import compare_rows
from autoprune.evaluation.suites.last_words import Passage, last_word_passages
from autoprune.evaluation.suites.lastword import LastWordSuite, question_of
from autoprune.evaluation.suites.rows import Row
from autoprune.models.loading import LoadedModel
from autoprune.text.corpus import Corpus
from autoprune.text.seen_text import SeenText
from autoprune.text.splits import split
from tests.support.bigram_subject import bigram_subject
from tests.support.tiny_subject import broken_subject, tiny_subject
from tests.support.tiny_texts import with_beginning

FILLER = " ".join(f"word{letter}" for letter in "abcdefghijklmnopqrst" * 3)
KNOWN, UNKNOWN = "red", "blue"


def document(number: int, colour: str, name: str = "fox") -> str:
    # The first sentence holds the word; it ends in one of two letters, which nobody is asked.
    return f"The {name} of story{chr(97 + number)} {FILLER} ok. Then came a {colour} {name}."


TEXTS = [document(n, KNOWN if n % 3 else UNKNOWN) for n in range(24)]


def tokenizer_of(*texts: str) -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.WordLevel({}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    split_words = [
        word for text in texts for word, _ in backend.pre_tokenizer.pre_tokenize_str(text)
    ]
    words = ["<s>", "[UNK]", *dict.fromkeys(split_words)]
    backend.model = models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]")
    backend.add_special_tokens(["<s>", "[UNK]"])
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]", bos_token="<s>")


def knowing(*, begins: bool = False) -> LoadedModel:
    """A model that writes ``fox`` after ``red``, and the full stop after all else."""
    tokenizer = tokenizer_of(*TEXTS)
    ids = tokenizer.get_vocab()
    followers = [ids["."]] * len(tokenizer)
    followers[ids[KNOWN]] = ids["fox"]
    return bigram_subject(with_beginning(tokenizer) if begins else tokenizer, followers)


@pytest.fixture
def text_file(tmp_path: Path) -> str:
    path = tmp_path / "text.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    return str(path)


@pytest.mark.parametrize("begins", [False, True])
@pytest.mark.parametrize("batch", [1, 5])
def test_the_share_right_is_exact(text_file: str, batch: int, begins: bool) -> None:
    suite = LastWordSuite((text_file,), part="all", batch=batch)
    (row,) = suite.run(knowing(begins=begins))
    # Two of three documents end as the model would end them.
    assert (row.value, sum(row.items), len(row.items)) == (pytest.approx(16 / 24), 16, 24)
    assert row.interval is not None and row.interval[0] < 16 / 24 < row.interval[1]
    assert row.protocol["beginning_token"] == ("<s>" if begins else "none")
    assert {"corpus", "data", "version", "context_words", "seed"} <= row.protocol.keys()
    assert "24 passages and 200 are asked for" in row.details["fewer_windows"]
    assert Row.from_json(json.loads(json.dumps(row.to_json()))) == row


def test_a_part_is_looked_at_and_its_documents_alone_are_asked(text_file: str) -> None:
    looks: list[tuple[str, str, int]] = []
    resources = Resources(look=lambda text, whole, of: looks.append((text, whole, of.number)))
    corpus = Corpus.of("text.jsonl", TEXTS)
    sealed = split(corpus, 3).sealed
    assert sealed.digest != split(corpus).sealed.digest
    # The number of the split decides, whatever the seed is.
    (row,) = LastWordSuite((text_file,), seed=5, text_split=3).run(knowing(), resources=resources)
    assert looks == [(sealed.digest, corpus.digest, 3)]
    assert len(row.items) == len(sealed.documents)
    assert sum(row.items) == sum(f" {KNOWN} " in text for text in sealed.documents)
    assert (row.details["split"]["part"], row.details["split"]["seed"]) == ("sealed", 3)
    # What is sealed stands in no record; other parts may be read there.
    assert all(sample.keys() == {"right"} for sample in row.details["samples"])
    (row,) = LastWordSuite((text_file,), part="all").run(knowing())
    assert all(sample.keys() == {"right", "context", "word"} for sample in row.details["samples"])


def test_two_models_pair_item_by_item(text_file: str) -> None:
    suite = LastWordSuite((text_file,), part="all")
    other = knowing()
    other.model.lm_head.weight.data.zero_()
    found = compare_rows(suite.run(knowing())[0], suite.run(other)[0])
    assert (found.items, found.lower, found.higher) == (24, 16, 0)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (document(0, KNOWN), "fox"),
        (f'The FOX is {FILLER} ok. Then came a fox!"', "fox"),
        # No word of three letters, none that stood there before, no stop, too short, not alone.
        (document(0, KNOWN, "ox"), None),
        (f"The dog {FILLER} ok. Then came a red fox.", None),
        (f"The fox {FILLER} ok.\n\nThe red fox", None),
        ("The fox. Then came a red fox.", None),
        (f"The fox {FILLER} ok. Then came a red-fox.", None),
    ],
)
def test_which_passages_are_asked(text: str, word: str | None) -> None:
    found = last_word_passages(Corpus.of("t", [text]), 10)
    assert [passage.word for passage in found] == ([] if word is None else [word])
    for passage in found:
        assert text.startswith(f"{passage.context} {passage.word}")


def test_passages_are_whole_sentences_and_do_not_overlap() -> None:
    text = " ".join([document(0, KNOWN)] * 4)
    found = last_word_passages(Corpus.of("t", [text]), 10)
    assert len(found) == 4
    # Sixty words and more stand before: the shortest run of sentences that has enough.
    assert all(passage.context.startswith("The fox of storya") for passage in found)
    assert {passage.context for passage in found} == {found[0].context}
    short = "One fox. " + document(1, KNOWN)
    (passage,) = last_word_passages(Corpus.of("t", [short]), 10)
    assert passage.context.startswith("The fox of storyb")


def test_few_passages_come_from_as_many_documents() -> None:
    texts = [" ".join([document(n, KNOWN)] * 3) for n in range(8)]
    corpus = Corpus.of("t", texts).spread_by("0 whole")
    assert len(last_word_passages(corpus, 100)) == 24
    few = last_word_passages(corpus, 8)
    assert {passage.document for passage in few} == set(range(8))
    assert few == last_word_passages(corpus, 100)[:8]
    assert few != last_word_passages(corpus.spread_by("1 whole"), 8)


def test_the_word_is_what_follows_the_passages_own_tokens() -> None:
    subject = tiny_subject()
    asked = question_of(subject.tokenizer, Passage("a red", "fox", 0))
    assert subject.tokenizer.decode(asked.context) == "a red"
    assert subject.tokenizer.decode(asked.word) == " fox"


def test_mistakes_and_findings(text_file: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="items 0"):
        build_suite("lastword:items=0")
    path = tmp_path / "plain.txt"
    path.write_text("Too short. To ask.")
    with pytest.raises(UsageError, match="has no passage of 50 words"):
        LastWordSuite((str(path),), part="all").run(knowing())
    small = bigram_subject(tokenizer_of(*TEXTS), [0] * 20, positions=40)
    with pytest.raises(UsageError, match="and the model 40 positions"):
        LastWordSuite((text_file,), part="all").check(small)
    (row,) = LastWordSuite((text_file,), part="all", items=2).run(broken_subject())
    assert row.status == "not_finite"
    resources = Resources(seen=SeenText.of(TEXTS))
    (row,) = LastWordSuite((text_file,), part="all").run(knowing(), resources=resources)
    assert row.status == "unavailable" and "calibrated on" in row.reason
