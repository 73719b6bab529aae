"""Perplexity equals the one computed by hand, and carries its protocol and interval."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from autoprune.errors import UsageError
from autoprune.evaluation.kl import dense_predictions, kl_to_dense
from autoprune.evaluation.suites import build_suite
from autoprune.evaluation.suites.cleaning import NO_RESOURCES, Resources
from autoprune.evaluation.suites.comparison import ProtocolMismatchError, compare_rows
from autoprune.evaluation.suites.lm import LanguageSuite
from autoprune.evaluation.suites.rows import Row
from autoprune.models.saving import save_model
from autoprune.text.hygiene import ContaminationError
from autoprune.text.seen_text import SeenText
from tests.support.tiny_subject import broken_subject, tiny_subject

TEXT = "\n\n".join(f"Paragraph {i}: the quick brown fox jumps over {i} dogs." for i in range(40))


@pytest.fixture
def text_file(tmp_path: Path) -> str:
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return str(path)


def test_equals_the_figure_computed_by_hand(text_file: str) -> None:
    subject = tiny_subject()
    perplexity, bits = LanguageSuite((text_file,), seqlen=32, batch=3).run(subject)
    ids = subject.tokenizer(TEXT)["input_ids"]
    losses = []
    for start in range(0, len(ids) - 31, 32):
        window = torch.tensor([ids[start : start + 32]])
        with torch.inference_mode():
            logp = subject.model(window).logits[0].double().log_softmax(-1)
        losses += [-float(logp[i, window[0, i + 1]]) for i in range(31)]
    by_hand = math.exp(sum(losses) / len(losses))
    assert perplexity.value == pytest.approx(by_hand, rel=1e-6)
    assert perplexity.protocol["windows"] == len(ids) // 32
    # One token is one byte here.
    assert bits.value == pytest.approx(math.log2(by_hand), rel=1e-6)
    assert perplexity.interval is not None
    assert perplexity.interval[0] < by_hand < perplexity.interval[1]


def test_protocol_is_complete_and_decides_what_is_comparable(text_file: str) -> None:
    suite = LanguageSuite((text_file,), seqlen=32, windows=5)
    first, second = suite.run(tiny_subject())[0], suite.run(tiny_subject(seed=1))[0]
    assert {"seqlen", "windows", "tokenizer", "dtype", "seed", "corpus"} <= first.protocol.keys()
    assert "seqlen 32" in first.describe()
    assert Row.from_json(json.loads(json.dumps(first.to_json()))) == first
    found = compare_rows(first, second)
    assert found.items == 5
    assert found.ratio == pytest.approx((second.value or 0) / (first.value or 1))
    other = LanguageSuite((text_file,), seqlen=16, windows=5).run(tiny_subject())[0]
    with pytest.raises(ProtocolMismatchError, match="seqlen is 32 and 16"):
        compare_rows(first, other)
    without = suite.run(tiny_subject(begin=False))[0]
    with pytest.raises(ProtocolMismatchError, match="tokenizer"):
        compare_rows(first, without)
    half = tiny_subject()
    half.model.to(torch.bfloat16)
    with pytest.raises(ProtocolMismatchError, match="dtype is 'float32' and 'bfloat16'"):
        compare_rows(first, suite.run(half)[0])


def test_distance_to_dense_is_zero_for_the_dense_model(text_file: str, tmp_path: Path) -> None:
    subject = tiny_subject()
    save_model(subject.model, subject.tokenizer, tmp_path / "dense", {})
    suite = LanguageSuite((text_file,), seqlen=32, windows=3, dense=str(tmp_path / "dense"))
    distance = suite.run(subject)[-1]
    assert distance.metric == "kl_to_dense"
    assert distance.value == pytest.approx(0, abs=1e-5)
    other = suite.run(tiny_subject(seed=1))[-1]
    assert (other.value or 0) > 0.001
    assert other.protocol["dense"]


def test_losses_and_distance_come_of_one_pass(text_file: str, tmp_path: Path) -> None:
    subject = tiny_subject(seed=1)
    save_model(tiny_subject().model, subject.tokenizer, tmp_path / "dense", {})
    alone = LanguageSuite((text_file,), seqlen=32, windows=5, batch=2)
    windows = alone._prepare(subject, text_file, NO_RESOURCES).windows
    apart = kl_to_dense(
        subject.model, dense_predictions(tiny_subject().model, windows, batch=2), batch=2
    )
    losses = [row.items for row in alone.run(subject)]
    passes = []
    subject.model.register_forward_hook(lambda *_: passes.append(1))
    *measured, distance = replace(alone, dense=str(tmp_path / "dense")).run(subject)
    assert len(passes) == 3, "five windows in batches of two"
    assert [row.items for row in measured] == losses
    assert distance.items == apart


def test_a_dense_model_of_other_tokens_costs_no_figure(text_file: str, tmp_path: Path) -> None:
    subject = tiny_subject()
    save_model(subject.model, subject.tokenizer, tmp_path / "dense", {})
    subject.model.resize_token_embeddings(270)
    suite = LanguageSuite((text_file,), seqlen=32, windows=3, dense=str(tmp_path / "dense"))
    loss, _, distance = suite.run(subject)
    assert loss.status == "ok" and distance.status == "unavailable"
    assert "has 258 tokens, the measured one 270" in distance.reason


def test_texts_of_one_file_name_are_distinguished(text_file: str, tmp_path: Path) -> None:
    other = tmp_path / "other" / "text.txt"
    other.parent.mkdir()
    other.write_text(TEXT.upper())
    suite = LanguageSuite((text_file, str(other)), seqlen=32, windows=2)
    names = [row.name for row in suite.run(tiny_subject()) if row.metric == "perplexity"]
    assert len(set(names)) == 2 and all(name.startswith("text.txt ") for name in names)


def test_a_look_is_noted_before_anything_is_measured(
    text_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from autoprune.evaluation.suites import lm
    from autoprune.text.corpora import load_corpus
    from autoprune.text.splits import Splits, split

    looks: list[tuple[str, str, int | None]] = []

    def noted(text: str, whole: str, splits: Splits | None = None) -> None:
        looks.append((text, whole, splits.number if splits is not None else None))

    resources = Resources(look=noted)

    def killed(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(lm, "evaluate_windows", killed)
    for part in ("all", "selection", "sealed"):
        suite = build_suite(f"lm:corpora={text_file},part={part},seqlen=32,text_split=3,seed=5")
        with pytest.raises(KeyboardInterrupt):
            suite.run(tiny_subject(), report=lambda progress: None, resources=resources)
    corpus = load_corpus(text_file)
    whole = corpus.digest
    assert looks == [(whole, whole, None), (split(corpus, 3).sealed.digest, whole, 3)]


def test_parts_of_a_corpus_are_disjoint_figures(text_file: str) -> None:
    rows = [
        build_suite(f"lm:corpora={text_file},part={part},seqlen=32").run(
            tiny_subject(), report=lambda progress: None
        )[0]
        for part in ("selection", "sealed")
    ]
    with pytest.raises(ProtocolMismatchError, match="part is 'selection' and 'sealed'"):
        compare_rows(*rows)
    drawn = [row.details["split"] for row in rows]
    assert [entry["part"] for entry in drawn] == ["selection", "sealed"]
    assert drawn[0]["digest"] == drawn[1]["digest"] and drawn[0]["seed"] == 0


def test_broken_model_is_a_result(text_file: str) -> None:
    rows = LanguageSuite((text_file,), seqlen=32, windows=2).run(broken_subject())
    assert [row.status for row in rows] == ["not_finite", "not_finite"]
    json.dumps([row.to_json() for row in rows], allow_nan=False)


def test_corpora_that_cannot_be_had(text_file: str) -> None:
    with pytest.raises(UsageError, match="shorter than one window"):
        LanguageSuite((text_file,), seqlen=100_000).run(tiny_subject())
    with pytest.raises(UsageError, match="did you mean wikitext2"):
        LanguageSuite(("wikitext",)).run(tiny_subject())
    with pytest.raises(UsageError, match="seqlen 1"):
        LanguageSuite(seqlen=1)
    missing, *rest = LanguageSuite(("wikitext2", text_file), seqlen=32, windows=2).run(
        tiny_subject()
    )
    assert (missing.status, missing.name) == ("unavailable", "wikitext2")
    assert rest[0].status == "ok"


def test_a_corpus_that_was_seen_whole_does_not_end_the_others(
    text_file: str, tmp_path: Path
) -> None:
    known = "\n\n".join(f"seen words number {i} and {i} more of them again" for i in range(9))
    (tmp_path / "seen.txt").write_text(known)
    corpora = (str(tmp_path / "seen.txt"), text_file)
    suite = LanguageSuite(corpora, seqlen=16, windows=2)
    seen = SeenText.of(known.split("\n\n"))
    lacking, *others = suite.run(tiny_subject(), resources=Resources(seen=seen))
    assert (lacking.status, lacking.value) == ("unavailable", None)
    assert "all 9 parts of the text" in lacking.reason and "says nothing" in lacking.reason
    alone = LanguageSuite((text_file,), seqlen=16, windows=2).run(tiny_subject())
    assert [row.value for row in others] == [row.value for row in alone]
    with pytest.raises(ContaminationError, match="9 of 9 parts"):
        suite.run(tiny_subject(), resources=Resources(seen=seen, overlap="refuse"))
