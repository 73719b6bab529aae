"""Loops: exact counts of models that repeat, or do not, by construction."""

import json
from pathlib import Path

import pytest

from autoprune.errors import UsageError
from autoprune.evaluation.intervals import wilson
from autoprune.evaluation.suites import build_suite
from autoprune.evaluation.suites.cleaning import Resources
from autoprune.evaluation.suites.degenerate import DegenerateSuite, distinct_share
from autoprune.evaluation.suites.rows import Row
from autoprune.models.loading import LoadedModel
from tests.support.bigram_subject import bigram_subject
from tests.support.tiny_subject import broken_subject, byte_tokenizer, tiny_subject

TEXT = "\n\n".join(f"Paragraph {n} of a text with many words in it." for n in range(90))


@pytest.fixture
def text_file(tmp_path: Path) -> str:
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return str(path)


def looping(period: int) -> LoadedModel:
    """A model over bytes that goes round in so many tokens, wherever it starts."""
    tokenizer = byte_tokenizer()
    followers = [2 + (token - 1) % period for token in range(len(tokenizer))]
    return bigram_subject(tokenizer, followers)


@pytest.mark.parametrize(("period", "value"), [(1, 1.0), (3, 1.0), (14, 1.0), (15, 0.0), (40, 0.0)])
def test_loops_of_fourteen_tokens_and_fewer_are_found(
    text_file: str, period: int, value: float
) -> None:
    suite = DegenerateSuite((text_file,), items=5, prompt=16)
    (row,) = suite.run(looping(period))
    assert row.metric == "degenerate" and row.details["better"] == "lower"
    assert (row.value, row.items) == (value, (value,) * 5)
    assert row.details["distinct_share"] == pytest.approx(min(period, 29) / 29)
    assert row.interval == wilson(int(5 * value), 5)
    assert Row.from_json(json.loads(json.dumps(row.to_json()))) == row


def test_texts_of_one_file_name_have_rows_of_their_own(text_file: str, tmp_path: Path) -> None:
    other = tmp_path / "other" / "text.txt"
    other.parent.mkdir()
    other.write_text(TEXT.replace("many", "few"), encoding="utf-8")
    rows = DegenerateSuite((text_file, str(other)), items=2, prompt=16).run(looping(3))
    assert [row.name for row in rows] == [
        f"text.txt/sealed {row.details['text'][:8]}" for row in rows
    ]
    assert len({row.name for row in rows}) == 2


def test_some_passages_loop_and_others_do_not(text_file: str) -> None:
    tokenizer = byte_tokenizer()
    # From the letter e on it repeats; every other byte leads through all of the alphabet.
    letter = tokenizer("e")["input_ids"][0]
    followers = [2 + (token - 1) % 256 for token in range(258)]
    followers[letter] = letter
    subject = bigram_subject(tokenizer, followers)
    (row,) = DegenerateSuite((text_file,), items=60, prompt=8).run(subject)
    # Bytes reach e within 32 steps where they stand shortly before it.
    from autoprune.evaluation.suites.texts import read_text
    from autoprune.text.windows import token_windows

    text = read_text(subject, text_file, "sealed", 0, Resources())
    windows = token_windows(text.corpus, tokenizer, 60, 8)
    expected = []
    for last in windows[:, -1].tolist():
        token, written = last, []
        for _ in range(64):
            token = followers[token]
            written.append(token)
        grams = {tuple(written[n : n + 4]) for n in range(32, 61)}
        expected.append(float(len(grams) < 14.5))
    assert list(row.items) == expected
    assert 0 < sum(expected) < len(expected)


def test_the_end_token_ends_no_continuation(text_file: str) -> None:
    subject = tiny_subject()
    # The end token is the most probable one everywhere, and is not allowed.
    subject.model.lm_head.weight.data[1] = 10 * subject.model.lm_head.weight.data.sum(0)
    (row,) = DegenerateSuite((text_file,), items=2, prompt=8).run(subject)
    assert row.status == "ok" and len(row.items) == 2
    assert all("</s>" not in sample for sample in row.details["samples"])


def test_protocol_states_the_rule_and_the_look_is_counted(text_file: str) -> None:
    looks: list[tuple[str, int]] = []
    resources = Resources(look=lambda text, _, of: looks.append((text, of.number)))
    suite = DegenerateSuite((text_file,), items=1000, prompt=16, seed=5, text_split=3)
    (row,) = suite.run(looping(3), resources=resources)
    rule = {"gram": 4, "least_distinct": 0.5, "new_tokens": 64, "prompt": 16, "part": "sealed"}
    assert rule.items() <= row.protocol.items()
    assert {"beginning_token", "data", "corpus", "version"} <= row.protocol.keys()
    assert looks == [(row.details["text"], 3)]
    assert row.details["split"]["seed"] == 3
    assert "and 1000 are asked for" in row.details["fewer_windows"]


def test_mistakes_and_findings(text_file: str) -> None:
    with pytest.raises(UsageError, match="prompt 1"):
        build_suite("degenerate:prompt=1")
    with pytest.raises(UsageError, match="do not fit the model's 70 positions"):
        DegenerateSuite((text_file,)).check(tiny_subject(positions=70))
    (row,) = DegenerateSuite((text_file,), items=2, prompt=8).run(broken_subject())
    assert row.status == "not_finite"
    assert distinct_share([1, 2, 3, 4]) == 1.0
