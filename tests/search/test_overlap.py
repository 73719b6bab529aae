"""Questions beside measurements: only where they may be, and with the same decisions."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from autoprune.design.chat import Reply
from autoprune.errors import UsageError
from autoprune.search import Search, SearchBudget, SearchSpec
from autoprune.search.search import LOG_FILE
from autoprune.search.steps import (
    Done,
    Failed,
    Measure,
    Measurement,
    Propose,
    Seal,
    StepGenerator,
    Validate,
    charged_seconds,
    outcome_from_json,
    outcome_to_json,
    together,
)
from tests.support.synthetic import Synthetic, drive, make_spec

SPEC = make_spec(budget=SearchBudget(candidates=20))
MEANWHILE = 3.0


def finish(search: Search, driver: Synthetic, *, backwards: bool = False) -> int:
    """Do all open steps, the answers last; returns how often both were open."""
    both = 0
    while not isinstance((steps := search.open_steps())[0], Done):
        kinds = {type(step) for step in steps}
        both += Propose in kinds and Measure in kinds
        for step in reversed(steps) if backwards else steps:
            search.record(step, driver.answer(step))
    return both


def test_what_is_known_is_measured_beside_the_questions(tmp_path: Path) -> None:
    alone, beside = Synthetic(), Synthetic()
    with Search.open(tmp_path / "alone", SPEC) as search:
        assert finish(search, alone) == 0
        digest, best = search.graph.digest, search.best
    for name, backwards in (("first", False), ("last", True)):
        with Search.open(tmp_path / name, SPEC, overlapping=True) as search:
            assert finish(search, beside, backwards=backwards) >= 3
            assert search.graph.digest == digest
            assert best is not None and search.best is not None
            assert search.best.alias == best.alias
    assert sorted(beside.asked) == sorted(2 * alone.asked)


def test_only_questions_validations_and_measurements_stand_together(tmp_path: Path) -> None:
    with Search.open(tmp_path, SPEC, overlapping=True) as search:
        driver = Synthetic()
        while not isinstance((steps := search.open_steps())[0], Done):
            kinds = {type(step) for step in steps}
            assert kinds <= {Propose, Measure} or kinds in ({Validate}, {Seal})
            for step in steps:
                search.record(step, driver.answer(step))


def test_killed_beside_an_answer_ends_the_same(tmp_path: Path) -> None:
    """At every boundary: with some answers of a batch on record, and some measurements."""
    driver, whole = Synthetic(), Synthetic()
    with Search.open(tmp_path / "whole", SPEC) as search:
        drive(search, whole)
        digest = search.graph.digest
    folder, done, turn = tmp_path / "killed", False, 0
    while not done:
        # It may be resumed with the designer elsewhere, or back on this machine.
        elsewhere = turn % 3 != 2
        search = Search.open(folder, SPEC if turn == 0 else None, overlapping=elsewhere)
        steps = search.open_steps()
        step = steps[turn % len(steps)]
        done = isinstance(step, Done)
        if not isinstance(step, Done):
            search.record(step, driver.answer(step))
        if done:
            assert search.graph.digest == digest
        search._log.close()
        turn += 1
    assert (folder / LOG_FILE).exists()
    assert sorted(driver.asked) == sorted(whole.asked)


def test_what_is_kept_decides_nothing_until_it_is_settled(tmp_path: Path) -> None:
    driver = Synthetic()
    with Search.open(tmp_path, SPEC, overlapping=True) as search:
        while not any(isinstance(step, Propose) for step in search.open_steps()):
            step = search.next_step()
            search.record(step, driver.answer(step))
        steps, digest, spent = search.open_steps(), search.graph.digest, search.spent.seconds
        for number, step in enumerate(steps, 1):
            search.keep(step, driver.answer(step))
            assert (search.graph.digest, search.spent.seconds) == (digest, spent)
            assert len(search.history()) > number
        with pytest.raises(UsageError, match="is not open"):
            search.keep(steps[0], driver.answer(steps[0]))
        search.settle()
        assert search.graph.digest != digest
        settled = search.graph.digest
    # Who was killed before it was settled finds it settled.
    with Search.open(tmp_path) as again:
        assert again.graph.digest == settled


def test_open_steps_settle_what_is_kept(tmp_path: Path) -> None:
    driver = Synthetic()
    with Search.open(tmp_path, SPEC) as search:
        while not isinstance((steps := search.open_steps())[0], Done):
            for step in steps:
                search.keep(step, driver.answer(step))
        assert search.finished == "candidates"


def test_answers_of_one_round_share_their_wait(tmp_path: Path) -> None:
    with Search.open(tmp_path, SPEC, overlapping=True) as search:
        driver, rounds = Synthetic(), 0
        while not isinstance((steps := search.open_steps())[0], Done):
            asked, before = [s for s in steps if isinstance(s, Propose)], len(search.entries)
            for step in steps:
                outcome = driver.answer(step)
                if isinstance(outcome, Reply):
                    wait = 6.0 if step is asked[0] else 0.0
                    outcome = replace(outcome, seconds=9.0, waited=wait)
                search.record(step, outcome)
            fresh = [entry for entry in search.entries[before:] if entry.tokens]
            if len(asked) > 1 and fresh:
                rounds += 1
                assert {entry.seconds for entry in fresh} == {6.0 / len(asked)}
        assert rounds


def timed(spec: SearchSpec, folder: Path, waited: float | None) -> Search:
    """A finished search whose answers took seconds, of which ``waited`` were waited for."""
    driver = Synthetic()
    search = Search.open(folder, spec, overlapping=True)
    while not isinstance((steps := search.open_steps())[0], Done):
        for step in steps:
            outcome = driver.answer(step)
            if isinstance(outcome, Reply):
                outcome = replace(outcome, seconds=MEANWHILE, waited=waited)
            search.record(step, outcome)
    return search


def test_time_that_nobody_waited_costs_nothing(tmp_path: Path) -> None:
    seconds = {}
    for name, waited in (("all", None), ("none", 0.0), ("some", 1.0)):
        with timed(SPEC, tmp_path / name, waited) as search:
            outcomes = [outcome_from_json(event["outcome"]) for event in search.history()]
            answers = [o for o in outcomes if isinstance(o, Reply)]
            assert search.spent.seconds == pytest.approx(sum(map(charged_seconds, outcomes)))
            rest = sum(o.seconds for o in outcomes if not isinstance(o, Reply))
            seconds[name] = (search.spent.seconds - rest) / len(answers)
    assert seconds == pytest.approx({"all": MEANWHILE, "none": 0.0, "some": 1.0})


def test_free_answers_leave_time_for_more_candidates(tmp_path: Path) -> None:
    counts = Counter[str]()
    # What answers say depends on the questions' words; over some searches, time decides.
    for seed in range(4):
        spec = make_spec(seed=seed, budget=SearchBudget(candidates=60, seconds=150.0))
        for name, waited in (("waited", None), ("free", 0.0)):
            with timed(spec, tmp_path / f"{name} {seed}", waited) as search:
                assert search.finished == "seconds" and search.spent.seconds <= 150.0
                counts[name] += search.spent.candidates
    assert counts["free"] > 1.1 * counts["waited"]


def test_answers_are_left_their_time(tmp_path: Path) -> None:
    """What is measured before the answers are there leaves them the seconds that they take."""
    went_on = 0
    for seconds in range(60, 150, 15):
        spec = make_spec(budget=SearchBudget(candidates=60, seconds=float(seconds)))
        with timed(spec, tmp_path / str(seconds), None) as search:
            went_on += search.generation > 1
            assert search.spent.seconds <= seconds
    assert went_on >= 3


def test_a_wait_is_on_record() -> None:
    for outcome in (Reply("x", seconds=4.0, waited=1.5), Failed("refused", seconds=4.0, waited=0)):
        read = outcome_from_json(outcome_to_json(outcome))
        assert read == outcome and charged_seconds(read) == outcome.waited
    # Earlier records know no wait: nothing was done meanwhile then.
    old = outcome_to_json(Reply("x", seconds=4.0))
    del old["waited"]
    assert charged_seconds(outcome_from_json(old)) == 4.0


def lane(name: str, sizes: list[int], seen: list[str]) -> StepGenerator:
    for number, size in enumerate(sizes):
        batch = [Seal(f"{name}{number}.{n}", (), 1, 0.5) for n in range(size)]
        outcomes = yield batch
        assert sorted(outcomes) == sorted(step.step_id for step in batch)
        seen.append(f"{name}{number}")


@pytest.mark.parametrize(
    ("first", "second", "sizes", "order"),
    [
        ([1, 2], [1], [2, 2], "a0 b0 a1"),
        ([1], [1, 1, 3], [2, 1, 3], "a0 b0 b1 b2"),
        ([], [2], [2], "b0"),
        ([], [], [], ""),
    ],
)
def test_generators_run_concurrently(
    first: list[int], second: list[int], sizes: list[int], order: str
) -> None:
    seen: list[str] = []
    generator, batches = together(lane("a", first, seen), lane("b", second, seen)), []
    found = Measurement((1.0,), 1, 2.7)
    try:
        batch = next(generator)
        while True:
            batches.append(len(batch))
            batch = generator.send({step.step_id: found for step in batch})
    except StopIteration:
        pass
    assert batches == sizes and " ".join(seen) == order
