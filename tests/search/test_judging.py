"""Judges of what is worth measuring: exact resume, honest use, audits, and what they save."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autoprune.design.parsing import Prediction
from autoprune.errors import UsageError
from autoprune.report.data import RunReport
from autoprune.report.gathering import with_search
from autoprune.report.sentences import trust
from autoprune.search import DesignerSpec, Entry, Search, SearchBudget, SearchSpec, judging
from autoprune.search.archive import Archive
from autoprune.search.judges import Judge, calibrated, designer, past
from autoprune.search.randomness import stream
from autoprune.search.regression import Forecast, Regression
from autoprune.search.steps import Done, Measure, Measurement
from tests.support.synthetic import Synthetic, drive, make_spec

SYNTHETIC = Synthetic()
SEEDS = (0, 1)


def drawn(**changes: Any) -> SearchSpec:
    """A search whose recipes are drawn, and which measures all of them on all windows."""
    limits = SearchBudget(candidates=40, evaluations=900)
    values: dict[str, Any] = {"designer": DesignerSpec(kind="random"), "budget": limits, "seed": 0}
    return make_spec(**{**values, **changes})


def truth(entry: Entry) -> float | None:
    """What an entry will lose, nats per token, a little wrong."""
    assert entry.recipe is not None
    found = SYNTHETIC.measure(entry.recipe, 6, 0.6, "selection")
    wrong = stream(1, 0, 0, entry.alias).gauss(0.0, 0.01)
    return sum(found.nll) / 6 + wrong if isinstance(found, Measurement) else None


def noise(entry: Entry) -> float | None:
    return stream(2, 0, 0, entry.alias).gauss(0.0, 1.0)


class Fixed:
    def __init__(self, make: Callable[[Entry], Forecast | None]) -> None:
        self.forecast = make


def only(monkeypatch: pytest.MonkeyPatch, make: Callable[[Archive], Judge]) -> None:
    monkeypatch.setattr(judging, "JUDGES", {"only": make})


def trusted(
    monkeypatch: pytest.MonkeyPatch, judges: Mapping[str, Callable[[Archive], Judge]]
) -> None:
    """Put judges in the place of ours, the last of them in use from the start."""
    monkeypatch.setattr(judging, "JUDGES", dict(judges))
    used = [judging.JudgeGrade(list(judges)[-1], 9, 0.1, 0.2, True)]
    monkeypatch.setattr(judging, "grades_of", lambda archive, judgements: used)


def run(folder: Path, spec: SearchSpec) -> tuple[Search, list[str]]:
    """A finished search, closed, and the identifiers of what it measured of candidates."""
    measured = []
    with Search.open(folder, spec) as search:
        driver = Synthetic()
        while not isinstance(step := search.next_step(), Done):
            if isinstance(step, Measure) and step.role == "candidate":
                measured.append(step.step_id)
            search.record(step, driver.answer(step))
    return search, measured


def test_killed_at_every_boundary_a_judged_search_ends_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trusted(monkeypatch, {"past": past, "only": lambda archive: calibrated(archive, truth)})
    monkeypatch.setattr(judging, "AUDITED", 2)
    spec = drawn(judge="on", budget=SearchBudget(candidates=14, evaluations=900))
    whole, _ = run(tmp_path / "whole", spec)
    assert whole.judging is not None and whole.judging.skipped and whole.judging.audited
    done, openings = None, 0
    while done is None:
        search = Search.open(tmp_path / "killed", spec)
        if openings % 2:
            # Killed between an outcome and what it decided.
            monkeypatch.setattr(search, "_keep_judgements", lambda: None)
        done = drive(search, Synthetic(), stop=lambda count: count == 1)
        openings += 1
        search._log.close()
    with Search.open(tmp_path / "killed") as again:
        assert again.graph.digest == whole.graph.digest
        assert again.judging == whole.judging
        kept = {e.key: e.body for e in again._log if e.kind == "judgement"}
        assert kept == {a: j.to_json() for a, j in whole._loop.halving.panel.known.items()}
        assert all(set(body["forecasts"]) <= {"past", "only"} for body in kept.values())
    # Judges that decide otherwise would put figures down to other recipes.
    monkeypatch.setattr(judging, "UNLIKELY", 0.0)
    with pytest.raises(UsageError, match="otherwise, so recorded figures"):
        Search.open(tmp_path / "killed")


def test_a_skilled_judge_saves_measurements_at_equal_quality(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch, lambda archive: calibrated(archive, truth))
    saved = []
    for seed in SEEDS:
        plain, measured = run(tmp_path / f"off{seed}", drawn(seed=seed))
        judged, fewer = run(tmp_path / f"on{seed}", drawn(seed=seed, judge="on"))
        assert plain.best is not None and judged.best is not None
        assert judged.best.score < plain.best.score + 0.005
        saved.append(1 - len(fewer) / len(measured))
    assert sum(saved) / len(SEEDS) > 0.15, saved


@pytest.mark.parametrize("kind", ["noise", "gloomy", "wild"])
def test_a_useless_judge_is_never_used(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judges: dict[str, Callable[[Archive], Judge]] = {
        "noise": lambda archive: calibrated(archive, noise),
        "gloomy": lambda archive: Fixed(lambda entry: Forecast(5.0, 1.0)),
        "wild": lambda archive: Fixed(lambda entry: Forecast(noise(entry) or 0.0, 0.1)),
    }
    only(monkeypatch, judges[kind])
    search, _ = run(tmp_path, drawn(judge="on"))
    found = search.judging
    assert found is not None and found.judged > 30 and found.grades[0].outcomes >= 8
    assert not found.skipped + found.audited
    assert not any(j.used for j in search._loop.halving.panel.known.values())


FAIL, HOPE = Forecast(5.0, 1.0), Forecast(-1.0, 1.0)


@pytest.mark.parametrize(
    ("first", "second", "used", "skips"),
    [
        # Both in use: both must expect a failure.
        (FAIL, FAIL, "first second", True),
        (FAIL, HOPE, "first second", False),
        (HOPE, FAIL, "first second", False),
        # The other has no opinion: one alone may skip, if it is in use.
        (FAIL, None, "first second", True),
        (FAIL, None, "first", True),
        (FAIL, None, "second", False),
        # A judge that does not beat the base rate neither skips nor saves.
        (FAIL, HOPE, "first", True),
        (FAIL, HOPE, "second", False),
        (FAIL, FAIL, "", False),
        (None, None, "first second", False),
    ],
)
def test_judges_in_use_skip_what_all_with_an_opinion_expect_to_fail(
    first: Forecast | None, second: Forecast | None, used: str, skips: bool, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    judges = {
        "first": lambda archive: Fixed(lambda entry: first),
        "second": lambda archive: Fixed(lambda entry: second),
    }
    monkeypatch.setattr(judging, "JUDGES", judges)
    grades = [judging.JudgeGrade(name, 9, 0.1, 0.2, name in used.split()) for name in judges]
    monkeypatch.setattr(judging, "grades_of", lambda archive, judgements: grades)
    search, _ = run(tmp_path, drawn(judge="on", budget=SearchBudget(candidates=14)))
    known = list(search._loop.halving.panel.known.values())
    assert len(known) > 8
    assert any(j.decision != "measure" for j in known) == skips
    for judgement in known:
        opinions = [judgement.forecasts[name] for name in judgement.used]
        assert set(judgement.used) <= set(used.split())
        if judgement.decision != "measure":
            assert opinions and all(found is FAIL for found in opinions)


def test_one_of_each_ten_skipped_is_measured_and_tells_what_skipping_costs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trusted(monkeypatch, {"only": lambda archive: Fixed(lambda entry: Forecast(5.0, 1.0))})
    genetic = {"designer": DesignerSpec(kind="genetic"), "budget": SearchBudget(candidates=60)}
    search, measured = run(tmp_path, drawn(judge="on", **genetic))
    known = list(search._loop.halving.panel.known.values())
    turned = [j for j in known if j.decision != "measure"]
    for start in range(0, len(turned) - 9, 10):
        block = [j.decision for j in turned[start : start + 10]]
        assert block.count("audit") == 1
    assert len(turned) > 30
    entries = search.archive
    for judgement in turned:
        entry = entries[judgement.candidate]
        asked = [step for step in measured if step.split(".")[0] == entry.alias]
        assert bool(asked) == (judgement.decision == "audit")
        assert (entry.status == "skipped") == (judgement.decision == "skip")
        newest = search.graph.newest_result(entry.alias)
        assert newest is not None
        assert (newest.body["status"] == "skipped") == (judgement.decision == "skip")
    found = search.judging
    assert found is not None and found.audited == len(turned) - found.skipped
    audits = [entries[j.candidate] for j in turned if j.decision == "audit"]
    # What few windows say of an audit is not what the recipe is worth.
    assert all(2 in entry.results for entry in audits if entry.status == "measured")
    lines = {j.candidate: j.line for j in turned}
    assert found.known == sum(e.whole is not None for e in audits) > 0
    assert found.good == sum(e.whole is not None and e.score <= lines[e.alias] for e in audits)
    assert f"{found.skipped} skipped unmeasured" in found.text
    with Search.open(tmp_path) as again:
        report = with_search(RunReport("r", "2026-01-01", "m", "c", 0.6, 12.0, ()), again)
    assert found.text in " ".join(trust(report))
    shown = {entry.alias: entry for entry in report.entries}
    skipped = next(j.candidate for j in turned if j.decision == "skip")
    assert shown[skipped].verdict == "unmeasured" and "not measured" in shown[skipped].detail
    # What nothing is known of is measured, whatever the judges say.
    kinds = [judging.kind_of(entries[j.candidate]) for j in known]
    first = {kind: known[kinds.index(kind)].decision for kind in set(kinds)}
    reference = {judging.kind_of(e) for e in entries if e.is_baseline and e.rung == 2}
    assert {d for kind, d in first.items() if kind not in reference} <= {"measure"}


def test_off_is_what_it_was_and_neither_is_taken_for_the_other(tmp_path: Path) -> None:
    assert "judge" not in drawn().to_json()
    search, _ = run(tmp_path / "off", drawn(budget=SearchBudget(candidates=4)))
    assert search.judging is None
    with pytest.raises(UsageError, match="judge"):
        Search.open(tmp_path / "off", drawn(judge="on", budget=SearchBudget(candidates=4)))
    run(tmp_path / "on", drawn(judge="on", budget=SearchBudget(candidates=4)))
    with pytest.raises(UsageError, match="judge"):
        Search.open(tmp_path / "on", drawn(budget=SearchBudget(candidates=4)))


def test_past_results_foretell_formulas_that_share_words_with_bad_ones(tmp_path: Path) -> None:
    search, _ = run(tmp_path, drawn(seed=5))
    archive = search.archive
    whole = [e for e in archive.designed() if 2 in e.results and e.duplicate_of is None]
    judge = past(archive)
    found = [judge.forecast(entry) for entry in whole]
    errors = [abs(f.mean - e.score) for f, e in zip(found, whole, strict=True) if f]
    assert len(errors) == len(whole) and max(errors) < 0.1
    recipe = whole[0].recipe
    assert recipe is not None
    strange = replace(whole[0], recipe=replace(recipe, group="global", allocation="owl"))
    near, far = judge.forecast(whole[0]), judge.forecast(strange)
    assert near is not None and far is not None and near.spread < far.spread


def test_a_designer_who_promises_too_much_is_calibrated(tmp_path: Path) -> None:
    search, _ = run(tmp_path, drawn())
    archive = search.archive
    whole = [e for e in archive.designed() if 2 in e.results and e.duplicate_of is None]
    assert len(whole) >= 8
    for entry in whole:
        # Half of what comes out, and thirty points too good.
        stated = f"{100 * math.expm1(0.5 * entry.score - 0.3):.2f} %"
        entry.prediction = Prediction("better", "wanda", forecast=stated)
    judge = designer(archive)
    for entry in whole:
        found = judge.forecast(entry)
        assert found is not None and found.mean == pytest.approx(entry.score, abs=0.02)
    silent = replace(whole[0], prediction=None)
    assert judge.forecast(silent) is None


def test_regression_gives_the_posterior_of_a_linear_law() -> None:
    rows = [{"a": float(i % 3), "b": float(i % 2)} for i in range(24)]
    fit = Regression(rows, [0.5 * r["a"] - 0.2 * r["b"] + 1.0 for r in rows])
    found = fit.forecast({"a": 1.0, "b": 1.0})
    assert found.mean == pytest.approx(1.3, abs=0.01) and found.spread < 0.03
    assert fit.forecast({"c": 3.0}).spread > 5 * found.spread
    assert Forecast(0.0, 1.0).below(0.0) == 0.5
    assert Forecast(0.0, 1.0).below(1.6449) == pytest.approx(0.95, abs=1e-4)
