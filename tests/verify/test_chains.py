"""Labelled chains are exact, seeded and split by template; computing again finds every error."""

import numpy as np
import pytest

from autoprune.evaluation.contrasts import contrast
from autoprune.verify import VERIFIERS, draw_chains
from autoprune.verify.auroc import (
    auroc,
    auroc_interval,
    chain_values,
    placements,
)
from autoprune.verify.programmatic import Programmatic
from autoprune.verify.templates import TEST, TRAIN
from tests.support.tiny_subject import tiny_subject


def flat(values: list[list[float]]) -> list[float]:
    return [value for one in values for value in one]


@pytest.mark.parametrize("part", ["train", "test"])
def test_the_share_of_wrong_steps_is_met_and_every_one_is_found(part: str) -> None:
    chains = draw_chains(300, 7, part=part)  # type: ignore[arg-type]
    right = [one for chain in chains for one in chain.right]
    assert right.count(False) == round(0.35 * len(right))
    assert draw_chains(300, 7, part=part) == chains  # type: ignore[arg-type]
    assert draw_chains(300, 8, part=part) != chains  # type: ignore[arg-type]
    # Computed again by other code than wrote them: every label follows from the text alone.
    scores = Programmatic.open(tiny_subject(), None).score_chains(chains)
    assert flat(scores) == [float(one) for one in right]
    for share in (0.0, 1.0):
        assert {r for c in draw_chains(5, 0, corrupted=share) for r in c.right} == {share == 0.0}


def test_training_and_test_share_no_template() -> None:
    assert {one.family for one in TRAIN}.isdisjoint(one.family for one in TEST)
    assert not {one.question for one in TRAIN} & {one.question for one in TEST}
    drawn = (
        {c.family for c in draw_chains(200, 0)},
        {c.family for c in draw_chains(200, 0, part="test")},
    )
    assert drawn == ({one.family for one in TRAIN}, {one.family for one in TEST})


@pytest.mark.parametrize(
    ("question", "steps", "scores"),
    [
        ("What is 3 + 4 * 2 - 1?", ["Answer: 10"], [1.0]),
        ("Ann has 12 and 5.", ["So 12 + 5 = 17.", "17 + 5 = 22.", "Answer: 22"], [1, 1, 1]),
        ("Ann has 12 and 5.", ["12 + 6 = 18.", "18 - 5 = 14.", "14 - 5 = 9."], [0, 0, 1]),
        ("Ann has 12 and 5.", ["12 + 5 + 5 = 22.", "Then nothing.", "Answer: 17"], [1, 0.5, 0]),
        ("How many?", ["Answer: 3", "Answer:", "so what"], [0.5, 0.5, 0.5]),
        ("What is 2 + 3/4?", ["Answer: 5"], [0.5]),
        ("What is 2 + 3/4?", ["Answer: 11/4"], [0.5]),
        ("What is 1/2 + 1/2?", ["Answer: 1"], [0.5]),
        ("What is 20 - 15 = ?", ["Answer: -5", "Answer: x = 5"], [0, 1]),
        ("What is 3 - 8?", ["x = 3 - 8 = -5, so x = -5.", "Answer: -5."], [1, 1]),
        ("Add 1.5 and 2.", ["1.5 + 2 = 3.5", "Answer: 3.5"], [0.5, 0.5]),
        ("What is 12 / 4 + 3?", ["- 12 / 4 + 3 = 6", "Answer: 6"], [0.5, 0.5]),
        ("Add 1,000 and 5.", ["1,000 + 5 = 1,005"], [0.5]),
        ("From 12 and 4.", ["- 12 + 4 = 16.", "16 / 4 = 4.", "Answer: 4"], [1, 0.5, 0.5]),
        ("What is 2 * (3 + 4)?", ["2 * (3 + 4) = 14", "Answer: 14"], [0.5, 0.5]),
    ],
)
def test_programmatic_computes_again(question: str, steps: list[str], scores: list[float]) -> None:
    assert VERIFIERS.get("programmatic").open(tiny_subject(), None).score(question, steps) == scores


def test_auroc_is_the_share_of_pairs_in_order() -> None:
    rng = np.random.default_rng(0)
    right = (rng.random(80) < 0.6).tolist()
    scores = (rng.integers(0, 12, 80) / 12 + 0.2 * np.array(right)).tolist()
    good = [s for s, r in zip(scores, right, strict=True) if r]
    bad = [s for s, r in zip(scores, right, strict=True) if not r]
    pairs = [(g > b) + 0.5 * (g == b) for g in good for b in bad]
    assert auroc(scores, right) == pytest.approx(sum(pairs) / len(pairs), abs=1e-12)
    assert sum(placements(scores, right)) / len(bad) == pytest.approx(auroc(scores, right))
    chains = (
        [scores[i : i + 4] for i in range(0, 80, 4)],
        [right[i : i + 4] for i in range(0, 80, 4)],
    )
    # All resamples of a perfect verifier are perfect, which does not make the value certain.
    assert auroc_interval([[1.0, 0.0]] * 3, [[True, False]] * 3) is None
    low, high = auroc_interval(*chains) or (1, 0)
    assert 0 <= low < auroc(scores, right) < high <= 1
    # The same chains twice over are twice as many, and say so.
    wider = high - low
    low, high = auroc_interval(chains[0] * 4, chains[1] * 4) or (1, 0)
    assert high - low < 0.7 * wider
    assert auroc_interval([scores], [right]) is None
    with pytest.raises(ValueError, match="80 of them right"):
        auroc(scores, [True] * 80)


def test_two_verifiers_that_are_equally_good_seldom_differ() -> None:
    rng = np.random.default_rng(0)
    alarms = 0
    for _ in range(400):
        right = (rng.random((40, 4)) < 0.65).tolist()

        def scores(truth: list[list[bool]] = right) -> list[list[float]]:
            # Steps of one chain have much in common.
            common = rng.standard_normal((40, 1))
            found: list[list[float]] = (common + rng.standard_normal((40, 4)) + truth).tolist()
            return found

        both = scores(), scores()
        values = [np.array(chain_values(one, right)) for one in both]
        for one, own in zip(both, values, strict=True):
            truth = [r for chain in right for r in chain]
            assert own.mean() == pytest.approx(auroc(flat(one), truth))
        found = contrast(values[1] - values[0])
        assert found is not None
        low, high = found.interval()
        alarms += not low <= 0 <= high
    # One placement for each wrong step, as if these were independent, gives 12 % and more.
    assert 0.02 <= alarms / 400 <= 0.08
