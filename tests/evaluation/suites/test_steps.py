"""Suite ``steps`` measures verifiers."""

import json
from pathlib import Path

import pytest

from autoprune.errors import UnknownNameError, UsageError
from autoprune.evaluation.suites import build_suite, check_suite
from autoprune.evaluation.suites.comparison import compare_rows
from autoprune.evaluation.suites.rows import Row
from autoprune.evaluation.suites.steps import StepsSuite
from autoprune.progress import silent
from autoprune.verify import Training, train_verifier
from tests.support.tiny_subject import broken_subject, tiny_subject

SMALL = {"chains": 30, "train": 25, "epochs": 1}


def test_every_verifier_is_a_row_that_pairs_solution_by_solution() -> None:
    first, second = (StepsSuite(**SMALL).run(tiny_subject(seed=seed)) for seed in (0, 1))  # type: ignore[arg-type]
    assert [row.name for row in first] == ["programmatic", "surprisal", "uhead"]
    assert first[0].value == 1.0 and first[2].details["parameters"] < 10_000_000
    for row in first:
        assert Row.from_json(json.loads(json.dumps(row.to_json()))) == row
        assert row.value == pytest.approx(sum(row.items) / len(row.items))
        assert row.details["wrong"] == round(0.35 * row.details["steps"])
        assert len(row.items) == SMALL["chains"]
        # The checker is never wrong, and resamples of no error say nothing.
        assert (row.interval is None) == (row.name == "programmatic")
        low, high = row.interval or (row.value, row.value)
        assert low <= row.value <= high
        assert set(row.details["families"]) == {"game", "kitchen", "library"}
    found = compare_rows(first[1], second[1])
    assert found.items == len(first[1].items)
    # Another seed is another protocol.
    with pytest.raises(UsageError, match="seed"):
        compare_rows(first[1], StepsSuite(("surprisal",), chains=30, seed=1).run(tiny_subject())[0])


def test_a_head_of_another_reader_is_refused_before_and_a_row_with_the_reason_after(
    tmp_path: Path,
) -> None:
    folder, reader = tmp_path / "head", tiny_subject()
    made = train_verifier(reader, Training(25, 1))
    made.save(folder)
    suite = build_suite(f"steps:verifiers=surprisal+{folder},chains=20")
    check_suite(suite, reader)
    rows = suite.run(reader, report=silent)
    assert [row.name for row in rows] == ["surprisal", "head"]
    assert rows[1].protocol["verifier_digest"] == made.describe()["verifier_digest"]
    with pytest.raises(UsageError, match="trained for the reader tiny-0"):
        check_suite(suite, tiny_subject(seed=1))
    other = suite.run(tiny_subject(seed=1), report=silent)
    assert other[0].status == "ok"
    assert other[1].status == "unavailable" and "trained for the reader" in other[1].reason


def test_a_broken_reader_is_a_result_and_wrong_settings_are_refused() -> None:
    rows = StepsSuite(("surprisal", "programmatic"), chains=5).run(broken_subject())
    assert [row.status for row in rows] == ["not_finite", "ok"]
    with pytest.raises(UnknownNameError, match="did you mean surprisal"):
        build_suite("steps:verifiers=suprisal")
    for text, message in (
        ("steps:verifiers=surprisal+surprisal", "have one name"),
        ("steps:corrupted=1", "corrupted above 0"),
        ("steps:train=2", "2 chains"),
    ):
        with pytest.raises(UsageError, match=message):
            build_suite(text)
    for share, count in ((0.01, 0), (0.999, 11)):
        one_sided = build_suite(f"steps:verifiers=surprisal,chains=3,corrupted={share}")
        with pytest.raises(UsageError, match=rf"a share of {share} is {count} wrong ones"):
            check_suite(one_sided, tiny_subject())
