"""A search starts with an estimate of what it will take, limit by limit."""

from types import SimpleNamespace
from typing import Any

import pytest

from autoprune.candidate import Candidate
from autoprune.recipe import Recipe
from autoprune.search import DesignerSpec, SearchBudget
from autoprune.search.archive import Entry
from autoprune.search.estimate import estimate, expected_seconds
from autoprune.search.spec import SearchSpec
from autoprune.search.starts import given_start
from autoprune.search.steps import Measurement
from flows.search.foreseeing import foreseen
from flows.terminal.console import clock
from tests.support.synthetic import make_spec

WINDOW = 0.7
USUAL = SearchSpec.model_fields["repair_choices"].default


@pytest.mark.parametrize(
    ("budget", "limit", "count"),
    [
        (SearchBudget(candidates=7), "candidates", 7),
        (SearchBudget(candidates=900, tokens=7400), "tokens", 7),
        (SearchBudget(candidates=900, money=0.01, price=(0.5, 2.0)), "money", 14),
        (SearchBudget(evaluations=9), "evaluations", 9),
        (SearchBudget(candidates=900, seconds=1.0), "seconds", 0),
    ],
)
def test_the_limit_that_ends_it_is_named(budget: SearchBudget, limit: str, count: int) -> None:
    spec = make_spec(budget=budget)
    found = estimate(spec, WINDOW)
    assert (found.limit, found.candidates) == (limit, count)
    word = {"seconds": "time"}.get(limit, limit)
    assert f"{word} ends the search after" in "\n".join(foreseen(spec, found, 0.0))
    assert found.total == pytest.approx(found.baselines + count * found.candidate + found.end)


def test_what_fits_into_a_time_fits_into_its_estimate() -> None:
    whole = estimate(make_spec(budget=SearchBudget(candidates=20)), WINDOW)
    limited = SearchBudget(candidates=900, seconds=whole.total + 0.1)
    assert estimate(make_spec(budget=limited), WINDOW).candidates == 20
    # Nothing but answers takes no longer on a slower machine.
    slow = estimate(make_spec(budget=SearchBudget(candidates=20)), 2 * WINDOW)
    assert slow.baselines == pytest.approx(2 * whole.baselines)
    genetic = make_spec(budget=SearchBudget(candidates=20), designer=DesignerSpec(kind="genetic"))
    assert estimate(genetic, WINDOW).candidate == pytest.approx(whole.candidate - whole.answer)
    dear = make_spec(repair_choices=("none", "ebft:epochs=2"), draws=3)
    assert estimate(dear, WINDOW).end > 2 * whole.end


def test_a_program_costs_more_than_masks() -> None:
    given = {"budget": SearchBudget(evaluations=9), "designer": DesignerSpec(kind="files")}
    masks, spec = estimate(make_spec(**given), WINDOW), make_spec(**given, language="program")
    found = estimate(spec, WINDOW)
    assert found.candidate > masks.candidate and found.end > masks.end
    # Of the usual repairs, a program may have none: both without repair.
    alone = [estimate(one.model_copy(update={"repair_choices": ("none",)}), WINDOW) for one in (
        make_spec(**given), spec
    )]  # fmt: skip
    assert alone[1].candidate > 3 * alone[0].candidate
    start = spec.model_copy(update={"starts": (given_start("program:wanda"),)})
    assert estimate(start, WINDOW).baselines > found.baselines + 2 * masks.candidate


def test_its_words_state_what_the_limits_leave_out() -> None:
    spec = make_spec(
        budget=SearchBudget(candidates=900, seconds=900.0, money=1.0, price=(0.5, 2.0))
    )
    shown = "\n".join(foreseen(spec, estimate(spec, WINDOW), 48.0))
    assert "dense pass 0.70 s a window, 8 s an answer assumed" in shown
    assert "of at most 900 candidates fit, the time ends the search" in shown
    assert "900 candidates, 15:00 of work, $1" in shown
    assert "loading, calibration and saving come on top (0:48 before the start)" in shown
    assert "too short" not in shown
    hasty = make_spec(budget=SearchBudget(candidates=900, seconds=9.0))
    found = estimate(hasty, WINDOW)
    least = found.baselines + found.candidate + found.end
    line = foreseen(hasty, found, 48.0)[0]
    assert "0:09 of work may be too short" in line and f"about {clock(least)} would" in line


def test_block_tuning_is_advised_where_there_is_time_for_it() -> None:
    def advice(seconds: float, **changes: object) -> bool:
        spec = make_spec(**{
            "budget": SearchBudget(candidates=900, seconds=seconds), "repair_choices": USUAL,
            **changes,
        })  # fmt: skip
        lines = foreseen(spec, estimate(spec, WINDOW), 0.0)
        return any("--repairs none,sparsegpt:select=own,ebft:epochs=2" in line for line in lines)

    assert advice(1800.0) and not advice(1799.0)
    assert not advice(1800.0, repair_choices=("none", "ebft:epochs=2"))
    assert not advice(1800.0, language="program")


def test_time_left_is_that_of_the_evaluations_that_are_left() -> None:
    recipe = Recipe(Candidate("expression", "abs(W)"))

    def entry(alias: str, *, start: bool, status: Any) -> Entry:
        made = Entry(alias, 0 if start else 1, "baseline" if start else "mutate", recipe, "abs(W)")
        made.status = status
        if status == "measured":
            made.results[2] = Measurement((3.0,) * 4, 511, 60.0)
            made.seconds = 60.0
        return made

    starts = [entry("wanda", start=True, status="measured")]
    starts += [entry("ria", start=True, status="valid")]
    # One that was rejected is waited for no longer.
    starts += [entry("gblm", start=True, status="rejected")]
    spec = SimpleNamespace(
        budget=SearchBudget(evaluations=6, candidates=120), sealed_windows=4, selection_windows=4
    )
    search: Any = SimpleNamespace(
        entries=[*starts, entry("C1", start=False, status="measured")], spec=spec, finished=None,
        spent=SimpleNamespace(candidates=1, evaluations=1, seconds=120.0),
    )  # fmt: skip
    # Five evaluations, one start, five recipes on sealed text.
    assert expected_seconds(search) == 60.0 * (5 + 1 + 5)
    search.finished = "evaluations"
    assert expected_seconds(search) == 0.0
