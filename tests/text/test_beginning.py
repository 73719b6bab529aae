"""The beginning token stands before every window and prompt of models that know one, once."""

from pathlib import Path

import pytest
import torch
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from autoprune.errors import UsageError
from autoprune.evaluation.perplexity import evaluate_windows
from autoprune.evaluation.suites.comparison import ProtocolMismatchError, compare_rows
from autoprune.evaluation.suites.lm import LanguageSuite
from autoprune.evaluation.suites.provenance import model_protocol
from autoprune.models.loading import LoadedModel
from autoprune.statistics.statistics import collect_statistics
from autoprune.store import Store
from autoprune.text.beginning import beginning_ids, beginning_rule, prompt_ids
from autoprune.text.corpus import Corpus
from autoprune.text.splits import NAMES, split
from autoprune.text.windows import token_windows
from tests.support.tiny_subject import tiny_subject
from tests.support.tiny_texts import BEGIN, marked_document, with_beginning, word_tokenizer

CORPUS = Corpus.of("marked", [marked_document(number, 400) for number in range(30)])


@pytest.fixture
def begins() -> PreTrainedTokenizerFast:
    return word_tokenizer(begins=True)


def beginning_subject() -> LoadedModel:
    """The tiny Llama over bytes, with a tokenizer that puts ``<s>`` first, as Llama's does."""
    subject = tiny_subject()
    with_beginning(subject.tokenizer)
    return subject


def test_the_rule_is_what_the_tokenizer_does(begins: PreTrainedTokenizerFast) -> None:
    assert (beginning_ids(begins), beginning_rule(begins)) == ([0], BEGIN)
    # It has the token, and does not use it, as SmolLM2's.
    plain = word_tokenizer(begins=False)
    assert plain.bos_token == BEGIN
    assert (beginning_ids(plain), beginning_rule(plain)) == ([], "none")
    # One that closes a text, and one that does both.
    for single, ids in ((f"$A {BEGIN}", []), (f"d0 {BEGIN} $A {BEGIN}", [2, 0])):
        begins.backend_tokenizer.post_processor = TemplateProcessing(
            single=single, special_tokens=[(BEGIN, 0), ("d0", 2)]
        )
        assert beginning_ids(begins) == ids


@pytest.mark.parametrize("name", [*NAMES, "whole"])
def test_every_window_begins_with_it_and_holds_it_once(
    begins: PreTrainedTokenizerFast, name: str
) -> None:
    corpus = CORPUS if name == "whole" else getattr(split(CORPUS), name)
    windows = token_windows(corpus, begins, 50, 32)
    assert windows.shape == (50, 32)
    assert (windows[:, 0] == 0).all()
    assert (windows[:, 1:] != 0).all()
    # Nothing of the text is lost between two windows: the others are as long as the text allows.
    everything = token_windows(corpus, begins, 10_000, 32)
    assert len(everything) == len(corpus.text.split()) // 31


def test_windows_of_a_tokenizer_without_one_stay_as_they_were() -> None:
    plain = word_tokenizer(begins=False)
    ids = plain(CORPUS.text)["input_ids"]
    expected = torch.tensor(ids[: 40 * 32]).reshape(40, 32)
    assert torch.equal(token_windows(CORPUS, plain, 40, 32), expected)


def test_papers_windows_hold_it_once_before_the_whole_text(
    begins: PreTrainedTokenizerFast,
) -> None:
    windows = token_windows(CORPUS, begins, 10, 32, each_begins=False)
    assert windows.flatten().tolist() == begins(CORPUS.text)["input_ids"][:320]


def test_the_cache_knows_the_rule(begins: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    store = Store(tmp_path)
    for each_begins in (True, False):
        for tokenizer in (begins, word_tokenizer(begins=False)):
            kept = token_windows(CORPUS, tokenizer, 4, 32, cache=store, each_begins=each_begins)
            cut = token_windows(CORPUS, tokenizer, 4, 32, each_begins=each_begins)
            assert torch.equal(kept, cut)


def test_a_window_of_nothing_but_its_beginning_is_refused(begins: PreTrainedTokenizerFast) -> None:
    with pytest.raises(UsageError, match="1 windows of 1 tokens"):
        token_windows(CORPUS, begins, 1, 1)
    assert token_windows(CORPUS, begins, 1, 2)[0, 0] == 0


def test_a_prompt_begins_once_and_so_does_a_rendered_one(begins: PreTrainedTokenizerFast) -> None:
    assert prompt_ids(begins, "d3 p4") == begins("d3 p4")["input_ids"]
    assert prompt_ids(begins, f"{BEGIN} d3 p4") == begins("d3 p4")["input_ids"]
    assert prompt_ids(word_tokenizer(begins=False), "") == []


def test_the_loss_scores_the_text_after_the_beginning() -> None:
    subject = beginning_subject()
    text = "Some words of a text, and some more of them. " * 20
    windows = token_windows(Corpus.of("t", [text]), subject.tokenizer, 3, 40)
    result = evaluate_windows(subject.model, windows)
    assert result.tokens == 3 * 39
    for number, nll in enumerate(result.nll):
        with torch.no_grad():
            ids = torch.tensor([[0, *text[number * 39 : (number + 1) * 39].encode()]])
            ids[0, 1:] = windows[number, 1:]
            logp = subject.model(ids).logits[0].double().log_softmax(-1)
        by_hand = -sum(float(logp[i, ids[0, i + 1]]) for i in range(39)) / 39
        assert nll == pytest.approx(by_hand, rel=1e-6)
    decoded = subject.tokenizer.decode(windows.flatten().tolist(), skip_special_tokens=True)
    assert decoded == text[: 3 * 39]


def test_statistics_are_of_windows_that_begin() -> None:
    subject = beginning_subject()
    windows = token_windows(CORPUS, subject.tokenizer, 4, 32)
    name = next(iter(collect_statistics(subject.model, windows).layers))
    got = collect_statistics(subject.model, windows).of(name)["x_norm"]
    inputs = []
    owner = subject.model.get_submodule(name.removesuffix(".weight"))
    handle = owner.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    with torch.no_grad():
        subject.model(torch.cat([torch.zeros(4, 1, dtype=torch.long), windows[:, 1:]], 1))
    handle.remove()
    expected = inputs[0].flatten(0, 1).double().square().mean(0).sqrt()
    assert torch.allclose(got.double(), expected, rtol=1e-5)


def test_records_name_the_rule_and_other_rules_are_not_compared(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("\n\n".join(f"Paragraph {n} of a text." for n in range(40)), encoding="utf-8")
    suite = LanguageSuite((str(path),), seqlen=32, windows=5)
    plain, begun = suite.run(tiny_subject())[0], suite.run(beginning_subject())[0]
    assert plain.protocol["beginning_token"] == "none"
    assert (
        begun.protocol["beginning_token"]
        == BEGIN
        == model_protocol(beginning_subject())["beginning_token"]
    )
    assert begun.details["starts_with_beginning_token"]
    assert not plain.details["starts_with_beginning_token"]
    with pytest.raises(ProtocolMismatchError, match="beginning_token is 'none' and '<s>'"):
        compare_rows(plain, begun)
    # A figure from before the rule has an earlier version.
    assert plain.protocol["version"] == 2
