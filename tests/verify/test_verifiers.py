"""Verifiers that read: the reader stays as it is, a signal is found, and nothing else counts."""

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
import torch

from autoprune.errors import AutopruneError, DamagedFileError, UnknownNameError, UsageError
from autoprune.models.loading import LoadedModel
from autoprune.verify import (
    Chain,
    StepVerifier,
    Training,
    UHead,
    draw_chains,
    open_verifier,
    reading,
    train_verifier,
)
from autoprune.verify.auroc import auroc
from autoprune.verify.head import UncertaintyHead, padded
from autoprune.verify.reading import read_steps, reader_digest
from tests.support.tiny_subject import broken_subject, tiny_subject

WORDS = ("sun", "tree", "lamp", "river", "stone")


def planted(count: int, seed: int, mark: str = "#") -> list[Chain]:
    """Steps of random words; the wrong ones hold a mark."""
    rng = Random(seed)
    chains = []
    for _ in range(count):
        right = tuple(rng.random() < 0.6 for _ in range(rng.randint(2, 4)))
        steps = []
        for one in right:
            words = rng.choices(WORDS, k=rng.randint(1, 3))
            words.insert(rng.randrange(len(words) + 1), "=" if one else mark)
            steps.append(" ".join(words))
        chains.append(Chain(rng.choice(WORDS), tuple(steps), right))
    return chains


def quality(verifier: StepVerifier, chains: Sequence[Chain]) -> float:
    scores = [score for one in verifier.score_chains(chains) for score in one]
    return auroc(scores, [one for chain in chains for one in chain.right])


@pytest.fixture(scope="module")
def reader() -> LoadedModel:
    return tiny_subject()


@pytest.fixture(scope="module")
def trained(reader: LoadedModel) -> UHead:
    return train_verifier(reader, Training(epochs=12), planted(80, 0))


def test_the_head_finds_a_planted_signal_and_leaves_the_reader_as_it_is() -> None:
    reader = tiny_subject(seed=3)
    before = reader_digest(reader)
    asked = [parameter.requires_grad for parameter in reader.model.parameters()]
    state = torch.random.get_rng_state()
    verifier = train_verifier(reader, Training(epochs=12), planted(80, 0))
    assert quality(verifier, planted(60, 1)) > 0.9
    assert verifier.record["reader_digest"] == before == reader_digest(reader)
    assert [p.requires_grad for p in reader.model.parameters()] == asked
    assert all(parameter.grad is None for parameter in reader.model.parameters())
    assert torch.equal(torch.random.get_rng_state(), state)
    again = train_verifier(reader, Training(epochs=12), planted(80, 0))
    assert again.record == verifier.record
    # A seed is another head.
    other = train_verifier(reader, Training(epochs=12, seed=1), planted(80, 0))
    assert other.score("sun", ["sun = tree"]) != verifier.score("sun", ["sun = tree"])


def shuffled(chains: list[Chain], seed: int) -> list[Chain]:
    labels = [one for chain in chains for one in chain.right]
    Random(seed).shuffle(labels)
    drawn = iter(labels)
    return [replace(c, right=tuple(next(drawn) for _ in c.right)) for c in chains]


def test_shuffled_labels_are_not_found(reader: LoadedModel) -> None:
    # Labels travel with the chains: whoever looks at them, or judges what it was taught, is caught.
    verifier = train_verifier(reader, Training(epochs=12), shuffled(planted(80, 0), 0))
    assert 0.4 <= quality(verifier, shuffled(planted(250, 1), 1)) <= 0.6


@pytest.mark.parametrize("name", ["surprisal", "uhead", "programmatic"])
def test_one_score_for_each_step_whatever_stands_beside_or_behind_it(
    name: str, reader: LoadedModel, trained: UHead
) -> None:
    verifier = trained if name == "uhead" else open_verifier(name, reader)
    chains = [*draw_chains(6, 0), *planted(7, 2), Chain("x", ("a" * 90,))]
    together = verifier.score_chains(chains)
    for chain, scores in zip(chains, together, strict=True):
        assert len(scores) == len(chain.steps)
        assert all(0.0 <= score <= 1.0 for score in scores)
        # Alone, and so without padding.
        assert verifier.score(chain.question, chain.steps) == pytest.approx(scores, abs=1e-5)
        # Later steps change nothing of earlier ones.
        begun = verifier.score(chain.question, chain.steps[:1])
        assert begun == pytest.approx(scores[:1], abs=1e-5)
    backwards = verifier.score_chains(chains[::-1])[::-1]
    for one, other in zip(together, backwards, strict=True):
        assert one == pytest.approx(other, abs=1e-5)


def test_surprisal_is_the_geometric_mean_probability(reader: LoadedModel) -> None:
    chain = draw_chains(1, 4)[0]
    text = chain.prompt + "".join(f"\n{step}" for step in chain.steps)
    ids = reader.tokenizer(text, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        logs = reader.model(ids).logits[0].log_softmax(-1)
    own = logs[:-1].gather(1, ids[0, 1:, None])[:, 0]
    # One byte is one token here, and the first has no probability.
    ends = [len(chain.prompt.encode()) - 1]
    for step in chain.steps:
        ends.append(ends[-1] + 1 + len(step.encode()))
    spans = [own[a:b].mean().exp().item() for a, b in pairwise(ends)]
    verifier = open_verifier("surprisal", reader)
    assert verifier.score(chain.question, chain.steps) == pytest.approx(spans, rel=1e-4)


@pytest.mark.parametrize("features", [1, 5, 1735, 4615])
def test_the_head_has_the_parameters_of_its_closed_form(features: int) -> None:
    width = 64
    # Features to twice the width to the width, a block that widens four times, the answer.
    project = features * 2 * width + 2 * width + 4 * width + 2 * width * width + 3 * width
    mix = 4 * width**2 + 4 * width + 4 * width + 8 * width**2 + 5 * width
    answer = width**2 + 3 * width + width + 1
    assert UncertaintyHead(features).parameter_count == project + mix + answer
    assert project + mix + answer == 128 * features + 63_105


def test_the_head_is_small_and_blind_to_padding() -> None:
    # Three hidden states of a model as wide as Llama-3.1-405B.
    assert UncertaintyHead(3 * 16_384 + 7).parameter_count < 10_000_000
    torch.manual_seed(0)
    head = UncertaintyHead(5).eval()
    steps = [torch.randn(length, 5) for length in (3, 9, 1)]
    features, mask = padded(steps)
    beyond = torch.where(mask[..., None], features, torch.full_like(features, 1e3))
    with torch.no_grad():
        alone = torch.cat([head(*padded([step])) for step in steps])
        assert torch.allclose(head(features, mask), alone, atol=1e-6)
        assert torch.allclose(head(beyond, mask), alone, atol=1e-6)
        order = torch.tensor([2, 0, 1])
        assert torch.allclose(head(features[order], mask[order]), alone[order], atol=1e-6)


def test_a_saved_head_opens_for_its_reader_alone(
    reader: LoadedModel, trained: UHead, tmp_path: Path
) -> None:
    folder = tmp_path / "head"
    trained.save(folder)
    chains = planted(5, 9)
    opened = open_verifier(str(folder), reader)
    assert opened.score_chains(chains) == trained.score_chains(chains)
    assert opened.describe() == trained.describe()
    other = tiny_subject()
    with torch.no_grad():
        next(other.model.parameters())[0, 0] += 1e-3
    with pytest.raises(UsageError, match=r"trained for the reader tiny-0 .* train one for this"):
        open_verifier(str(folder), other)
    labels = [right for chain in planted(80, 0) for right in chain.right]
    wrong = labels.count(False) / len(labels)
    assert trained.record["training"]["corrupted"] == pytest.approx(wrong)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="holds no verifier, and saving would replace it"):
        trained.save(tmp_path / "other")
    weights = folder / "uhead.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(DamagedFileError, match="is damaged"):
        open_verifier(str(folder), reader)
    weights.unlink()
    with pytest.raises(DamagedFileError, match="holds no head"):
        open_verifier(str(folder), reader)
    lacking = {"kind": "uhead", "format": trained.record["format"]}
    (folder / "verifier.json").write_text(json.dumps(lacking))
    with pytest.raises(DamagedFileError, match="lacks dtype, features, reader"):
        open_verifier(str(folder), reader)
    (folder / "verifier.json").write_text("{}")
    with pytest.raises(DamagedFileError, match="names no kind"):
        open_verifier(str(folder), reader)


def test_what_cannot_be_is_refused(reader: LoadedModel, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean surprisal"):
        open_verifier("suprisal", reader)
    with pytest.raises(UsageError, match="is trained first"):
        open_verifier("uhead", reader)
    with pytest.raises(UsageError, match=r"holds no verifier\.json"):
        open_verifier(str(tmp_path), reader)
    same = [replace(chain, right=(True,) * len(chain.steps)) for chain in planted(10, 0)]
    with pytest.raises(UsageError, match="have the same label, of which nothing is learned"):
        train_verifier(reader, Training(), same)
    with pytest.raises(UsageError, match="add its labels"):
        train_verifier(reader, Training(), [Chain("q", ("a", "b"))])
    with pytest.raises(UsageError, match="4 chains"):
        Training(chains=4)
    with pytest.raises(UsageError, match="has 64 positions"):
        read_steps(tiny_subject(positions=64), [Chain("q", ("a" * 60,))])
    with pytest.raises(AutopruneError, match="NaN or infinite"):
        open_verifier("surprisal", broken_subject()).score("q", ["a"])


def test_tokens_that_a_reader_rules_out_are_no_fault() -> None:
    logits = torch.randn(2, 40, generator=torch.Generator().manual_seed(0))
    ruled_out = torch.cat([logits, torch.full((2, 3), -torch.inf)], dim=1)
    tokens = torch.tensor([3, 5])
    assert torch.equal(reading._doubts(ruled_out, tokens), reading._doubts(logits, tokens))
