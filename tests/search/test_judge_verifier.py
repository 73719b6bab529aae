"""The judge ``verifier``: reasons scored before any measurement, on record, and graded."""

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from autoprune.errors import UsageError
from autoprune.search import DesignerSpec, Search, SearchBudget, SearchSpec, judges, judging
from autoprune.search.judges import JUDGES, outcome_of, verifier
from autoprune.search.steps import Done, Failed, Measurement, Outcome, Step, Verified, Verify
from tests.support.synthetic import Synthetic, drive, make_spec


def spec_of(**changes: Any) -> SearchSpec:
    values: dict[str, Any] = {
        "arm": "list", "judge": "on", "judge_verifier": "surprisal", "repair_calls": 0,
        "budget": SearchBudget(candidates=6, evaluations=900),
    }  # fmt: skip
    return make_spec(**{**values, **changes})


@dataclass
class Scoring(Synthetic):
    """Scores reasons too, the surer the lower the loss, and keeps what it was asked."""

    search: Search | None = None
    seen: list[Verify] = field(default_factory=list)
    given: Outcome | None = None

    def answer(self, step: Step) -> Outcome:
        if not isinstance(step, Verify):
            return super().answer(step)
        self.seen.append(step)
        assert self.search is not None
        recipe = self.search.archive[step.recipe_id].recipe
        found = self.measure(recipe, 6, 0.6, "selection")
        loss = sum(found.nll) / 6 if isinstance(found, Measurement) else 9.0
        # Nowhere near a probability, as the scores of real verifiers.
        least = 1 / (1 + math.exp(loss))
        return self.given or Verified((1.0,) * (len(step.reason) - 1) + (least,), 0.5)


def run(folder: Path, spec: SearchSpec, driver: Scoring) -> Search:
    with Search.open(folder, spec) as search:
        driver.search = search
        assert isinstance(drive(search, driver), Done)
    return search


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the judge ``past``, whose regression takes most of a search's time here."""
    rest = {name: make for name, make in JUDGES.items() if name != "past"}
    monkeypatch.setattr(judging, "JUDGES", rest)


def test_scores_are_calibrated_whatever_they_look_like(tmp_path: Path) -> None:
    driver = Scoring()
    search = run(tmp_path, spec_of(budget=SearchBudget(candidates=16, evaluations=900)), driver)
    archive = search.archive
    known = [e for e in archive if e.trust is not None and e.whole and e.duplicate_of is None]
    assert len(known) >= 6
    judge = verifier(archive)
    for entry in known:
        found, outcome = judge.forecast(entry), outcome_of(archive, entry)
        assert found is not None and found.mean == pytest.approx(outcome, abs=0.03)
    assert judge.forecast(replace(known[0], trust=None)) is None
    # A verifier that is surest of the worst reasons is as good once its scores are known.
    for entry in known:
        entry.trust = 1.0 - (entry.trust or 0.0)
    turned = verifier(archive).forecast(known[0])
    assert turned is not None
    assert turned.mean == pytest.approx(outcome_of(archive, known[0]), abs=0.03)


def test_only_what_a_designer_gave_reasons_for_is_read(tmp_path: Path) -> None:
    driver = Scoring()
    search = run(tmp_path, spec_of(arm="whole", budget=SearchBudget(candidates=12)), driver)
    known = search._loop.halving.panel.known
    assert (
        {e.alias for e in search.entries if e.trust is not None}
        == {step.recipe_id for step in driver.seen}
        == {alias for alias in known if search.archive[alias].because}
    )
    moved = [alias for alias in known if not search.archive[alias].because]
    assert moved and driver.seen
    assert not any("verifier" in known[alias].forecasts for alias in moved)
    first = driver.seen[0]
    entry = search.archive[first.recipe_id]
    assert first.reason[0] == entry.because and entry.formula in first.reason[1]
    assert first.reason[2].startswith("Perplexity against abs(W) * x_norm | row | uniform: ")
    assert search.judging is not None
    assert [grade.judge for grade in search.judging.grades] == ["designer", "verifier"]


def test_killed_at_every_boundary_a_search_reads_no_reason_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In use from the start, so that its scores decide something.
    used = [judging.JudgeGrade("verifier", 9, 0.1, 0.2, True)]
    monkeypatch.setattr(judging, "grades_of", lambda archive, judgements: used)
    monkeypatch.setattr(judging, "UNLIKELY", 2.0)
    monkeypatch.setattr(judges, "FEWEST", 2)
    spec = spec_of(budget=SearchBudget(candidates=9, evaluations=900))
    whole = run(tmp_path / "whole", spec, Scoring())
    assert whole.judging is not None and whole.judging.skipped
    done, asked, driver = None, list[str](), Scoring()
    while done is None:
        with Search.open(tmp_path / "killed", spec) as search:
            driver.search = search
            # At the boundary before each step that reads, and after it.
            done = drive(search, driver, stop=lambda count: bool(driver.seen))
            asked += [step.step_id for step in driver.seen]
            driver.seen.clear()
    assert len(asked) == len(set(asked)) > 3
    with Search.open(tmp_path / "killed") as again:
        assert again.graph.digest == whole.graph.digest and again.judging == whole.judging
        trusts = {entry.alias: entry.trust for entry in again.entries}
    assert trusts == {entry.alias: entry.trust for entry in whole.entries}
    with pytest.raises(UsageError, match="judge_verifier"):
        Search.open(tmp_path / "killed", spec_of(judge_verifier=None, budget=spec.budget))


@pytest.mark.parametrize("given", [Failed("unread"), Verified((0.5, math.nan, 0.5))])
def test_what_gives_no_score_has_no_say(given: Outcome, tmp_path: Path) -> None:
    driver = Scoring(given=given)
    search = run(tmp_path, spec_of(), driver)
    assert driver.seen and all(entry.trust is None for entry in search.entries)
    assert search.judging is not None
    assert [grade.judge for grade in search.judging.grades] == ["designer"]


def test_it_is_asked_for_and_has_reasons_to_read(tmp_path: Path) -> None:
    spec = spec_of(judge_verifier=None)
    assert "judge_verifier" not in spec.to_json()
    driver = Scoring()
    run(tmp_path / "none", spec, driver)
    assert not driver.seen
    with pytest.raises(UsageError, match="asks for 3 scores, not 1"):
        run(tmp_path / "few", spec_of(), Scoring(given=Verified((0.5,))))
    with pytest.raises(ValueError, match="add --judge on"):
        spec_of(judge="off")
    with pytest.raises(ValueError, match="asks no designer"):
        spec_of(arm="random", designer=DesignerSpec(kind="random"))
