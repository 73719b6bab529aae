"""Self-generated text: the model's own samples, seeded, kept, and never measured on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from autoprune.errors import DamagedFileError, UsageError
from autoprune.models.loading import LoadedModel
from autoprune.progress import Progress
from autoprune.store import Store
from autoprune.text import chains
from autoprune.text.corpora import CORPORA, Author, Corpus, load_corpus
from autoprune.text.sampling import TokenCounter, sample
from autoprune.text.splits import split
from autoprune.text.windows import token_windows
from tests.support.tiny_subject import tiny_subject

REF = "self-generated:tokens=700,seed=3"


@pytest.fixture(scope="module")
def subject() -> LoadedModel:
    return tiny_subject(positions=96)


def author_of(subject: LoadedModel) -> Author:
    return Author(lambda: subject, subject.source.digest)


def never() -> LoadedModel:
    raise AssertionError("the model was asked again")


def test_the_model_writes_as_much_as_is_read_and_leaves_the_generator_alone(
    subject: LoadedModel,
) -> None:
    before = torch.random.get_rng_state()
    shown: list[Progress] = []
    author = Author(lambda: subject, subject.source.digest, tokens=500, report=shown.append)
    corpus = load_corpus("self-generated", author=author)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert corpus.generated and not corpus.ordered
    done = [progress.done for progress in shown]
    assert len(done) > 30 and done == sorted(done) and 0 < done[0] < 50 < done[-1] < 550
    assert {progress.total for progress in shown} == {550}
    assert len(set(corpus.documents)) == len(corpus.documents) > 3
    assert token_windows(corpus, subject.tokenizer, 10, 50).shape == (10, 50)


def writer_of_x(**changes: int) -> LoadedModel:
    """A model that writes one letter only."""
    subject = tiny_subject(**changes)
    letter = subject.tokenizer("x")["input_ids"][-1]
    with torch.no_grad():
        subject.model.lm_head.weight.zero_()
        subject.model.model.norm.weight.fill_(1.0)
        subject.model.model.embed_tokens.weight[:, 0] = 50.0
        subject.model.lm_head.weight[letter, 0] = 50.0
    return subject


def test_samples_follow_the_models_own_distribution() -> None:
    # A model that knows one byte only must write that byte, after the random first word.
    subject = writer_of_x()
    corpus = load_corpus(REF, author=author_of(subject))
    assert all(set(document[1:]) <= {"x"} for document in corpus.documents)
    assert len({document[0] for document in corpus.documents}) > 1


@pytest.mark.parametrize("changed", [REF.replace("seed=3", "seed=4"), f"{REF},temperature=0.5"])
def test_the_same_settings_write_the_same_text_and_others_another(
    subject: LoadedModel, changed: str
) -> None:
    author = author_of(subject)
    first = load_corpus(REF, author=author)
    assert load_corpus(REF, author=author).digest == first.digest
    assert load_corpus(changed, author=author).digest != first.digest


def test_the_text_is_kept_by_the_models_digest(subject: LoadedModel, tmp_path: Path) -> None:
    store = Store(tmp_path)
    first = load_corpus(REF, cache=store, author=author_of(subject))
    again = load_corpus(REF, cache=store, author=Author(never, subject.source.digest))
    assert again == first
    with pytest.raises(AssertionError, match="asked again"):
        load_corpus(REF, cache=store, author=Author(never, "f" * 64))
    kept = next(tmp_path.rglob("*.jsonl"))
    kept.write_text('"tampered"\n')
    with pytest.raises(DamagedFileError, match=kept.name):
        load_corpus(REF, cache=store, author=author_of(subject))


def test_another_tokenizer_template_or_type_writes_anew(tmp_path: Path) -> None:
    subject, store = tiny_subject(positions=96), Store(tmp_path)

    def asked(load: Callable[[], LoadedModel], dtype: str = "float32") -> Corpus:
        author = Author(load, "d" * 64, tokenizer=subject.tokenizer, dtype=dtype)
        return load_corpus(REF, cache=store, author=author)

    def anew(dtype: str = "float32") -> bool:
        try:
            asked(never, dtype)
        except AssertionError:
            asked(lambda: subject, dtype)
            return True
        return False

    assert anew() and not anew() and anew("bfloat16")
    subject.tokenizer.chat_template = "{{ messages[0].content }}"
    assert anew() and not anew()
    # A call with padding leaves its settings in the tokenizer, and they change no text.
    subject.tokenizer.pad_token = "</s>"
    assert anew()
    subject.tokenizer(["a", "ab"], padding=True, truncation=True, max_length=4)
    assert not anew()


def test_another_model_may_write(subject: LoadedModel, tmp_path: Path) -> None:
    subject.model.save_pretrained(tmp_path)
    subject.tokenizer.save_pretrained(tmp_path)
    corpus = load_corpus(f"{REF},model={tmp_path}", author=Author(never, "f" * 64))
    assert corpus.documents == load_corpus(REF, author=author_of(subject)).documents


def test_without_a_model_the_error_says_how_to_name_one() -> None:
    assert "self-generated" in CORPORA
    calls: list[Callable[[], Corpus]] = [
        lambda: load_corpus("self-generated"),
        lambda: CORPORA.get("self-generated")(None),
    ]
    for call in calls:
        with pytest.raises(UsageError, match="self-generated:model=REF"):
            call()


@pytest.mark.parametrize(
    ("ref", "message"),
    [
        ("self-generated:seed=-1", "0 or above"),
        ("self-generated:temperature=0", "above 0"),
        ("self-generated:words=3", "no parameter 'words'"),
        ("self-generate", "did you mean self-generated"),
    ],
)
def test_a_wrong_setting_is_named(subject: LoadedModel, ref: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_corpus(ref, author=author_of(subject))


def test_it_calibrates_and_never_measures(subject: LoadedModel) -> None:
    written = load_corpus(REF, author=author_of(subject))
    with pytest.raises(UsageError, match="never measure"):
        split(written)
    copied = "the hare and the fox ran over the hill and far away from the old mill at dawn"
    real = Corpus.of("real", [copied, *(f"{copied[::-1]} number {n}" for n in range(20))])
    mixed = Corpus.of("mixed", [*written.documents, copied, *real.documents], generated=True)
    parts = split(real, calibrate_on=mixed)
    plain = split(real)
    assert parts.selection == plain.selection and parts.sealed == plain.sealed
    assert parts.calibration.generated and not parts.sealed.generated
    # What the model recites from the measured parts is left out.
    measured = {*parts.selection.documents, *parts.sealed.documents}
    assert measured.isdisjoint(parts.calibration.documents)
    assert set(written.documents) <= set(parts.calibration.documents)


def test_chains_are_problems_and_solutions_through_the_chat_template(tmp_path: Path) -> None:
    subject = writer_of_x(positions=320)
    author, ref = author_of(subject), "self-generated:tokens=100,prompts=chains"
    with pytest.raises(UsageError, match="no chat template"):
        load_corpus(ref, author=author)
    subject.tokenizer.chat_template = (
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    store = Store(tmp_path)
    corpus = load_corpus(ref, author=author, cache=store)
    assert corpus.generated and len(corpus.documents) == 8
    problem = "x" * 128
    begin = f"<user>{problem}\n\nReason step by step, and write the answer in a last line: Answer:"
    for document in corpus.documents:
        assert document.startswith(begin)
        solution = document.partition("<assistant>")[2]
        assert set(solution) == {"x"} and len(solution) > 40
    # Kept apart from prose of the same seed, and not written again.
    again = load_corpus(ref, author=Author(never, subject.source.digest), cache=store)
    assert again == corpus
    assert load_corpus("self-generated:tokens=100", author=author, cache=store) != corpus
    with pytest.raises(UsageError, match="none or chains"):
        load_corpus("self-generated:prompts=chain", author=author)


def test_a_chain_is_kept_as_it_was_written(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = tiny_subject()
    # As templates of models that think: an answer opens with a thought, which turns of the past
    # have lost.
    subject.tokenizer.chat_template = (
        "{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m.content.split('</think>')[-1] }}"
        "{{ eos_token }}{% endfor %}{% if add_generation_prompt %}<assistant><think>\n{% endif %}"
    )
    asked: list[str] = []

    def answer(loaded: LoadedModel, prompts: list[list[int]], **given: Any) -> list[list[int]]:
        texts = [subject.tokenizer.decode(prompt) for prompt in prompts]
        asked.extend(texts)
        invents = "Write one short mathematics problem" in texts[0]
        found = "hm</think>How many?" if invents else "2 + 2 = 4.</think> Answer: 4"
        ids = subject.tokenizer(found, add_special_tokens=False)["input_ids"]
        # The last one never came to an end.
        return [ids] * (len(prompts) - 1) + [(ids * given["most"])[: given["most"]]]

    monkeypatch.setattr(chains, "sample", answer)
    documents = list(
        chains.write_chains(
            subject, ["tree"], tokens=1, seed=0, temperature=1.0, report=lambda progress: None
        )
    )
    # A problem is asked for without thoughts, and what comes before them is no part of it.
    assert asked[0].endswith("<think>\n\n</think>\n\n")
    assert asked[chains.BATCH].startswith("<s><user>How many?\n\nReason step by step")
    assert documents[0].startswith("<s><user>How many?") and documents[0].count("<s>") == 1
    assert documents[0].endswith("<assistant><think>\n2 + 2 = 4.</think> Answer: 4</s>")
    assert len(documents) == chains.BATCH and not documents[-1].endswith("</s>")


def test_prompts_of_different_lengths_are_continued_as_each_alone() -> None:
    subject = tiny_subject()
    prompts = [[0, 40, 41], [0, 40, 41, 42, 43, 44]]

    def written(asked: list[list[int]]) -> list[list[int]]:
        counter = TokenCounter(lambda progress: None, "test", 0, 100)
        # So cold that chance has no say.
        return sample(subject, asked, seed=1, temperature=1e-4, counter=counter, shortest=5, most=5)

    assert written(prompts) == written(prompts[:1]) + written(prompts[1:])


def test_sampling_settings_of_the_checkpoint_have_no_effect() -> None:
    subject = tiny_subject()

    def written() -> list[list[int]]:
        counter = TokenCounter(lambda progress: None, "test", 0, 100)
        return sample(subject, [[0, 40]], seed=1, temperature=1.0, counter=counter)

    before = written()
    subject.model.generation_config.top_p = 0.01
    assert written() == before
    assert subject.model.generation_config.top_p == 0.01
