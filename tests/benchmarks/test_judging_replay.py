"""Recorded searches replayed with a judge: the log's recipes, audits by lot, what is missed."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from autoprune.search import DesignerSpec, Search, SearchBudget, judging
from autoprune.search.archive import Archive
from autoprune.search.export import read_events
from autoprune.search.judges import Judge
from autoprune.search.regression import Forecast
from autoprune.search.search import LOG_FILE
from benchmarks import judging as judging_benchmark
from benchmarks import table
from benchmarks.evidence.records import read_record
from benchmarks.judging_replay import read_run, replay
from benchmarks.measured import ROOT
from tests.support.benchmark_run import run
from tests.support.synthetic import Synthetic, drive, make_spec


@pytest.fixture(autouse=True)
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "out"
    monkeypatch.setattr(table, "OUT", folder)
    return folder


def searched(folder: Path, seed: int) -> None:
    """A finished search whose recipes were all measured on all windows, and its log as evidence."""
    spec = make_spec(
        designer=DesignerSpec(kind="random"),
        budget=SearchBudget(candidates=30, evaluations=900),
        seed=seed,
    )
    with Search.open(folder / f"run{seed}", spec) as search:
        drive(search, Synthetic())
    lines = [json.dumps(vars(event)) for event in read_events(folder / f"run{seed}" / LOG_FILE)]
    log_of(folder, seed).parent.mkdir(parents=True, exist_ok=True)
    log_of(folder, seed).write_bytes(gzip.compress("\n".join(lines).encode()))


def log_of(folder: Path, seed: int) -> Path:
    return folder / "record" / "logs" / f"random-{seed}.jsonl.gz"


class Gloomy:
    def forecast(self, entry: object) -> Forecast:
        return Forecast(5.0, 1.0)


def gloomy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A judge that expects nothing of any recipe, in use from the start."""

    def judge(_: Archive) -> Judge:
        return Gloomy()

    monkeypatch.setattr(judging, "JUDGES", {"gloomy": judge})
    used = [judging.JudgeGrade("gloomy", 9, 0.1, 0.2, True)]
    monkeypatch.setattr(judging, "grades_of", lambda archive, judgements: used)


def test_a_replay_meets_the_recipes_of_the_log_with_their_scores(tmp_path: Path) -> None:
    searched(tmp_path, 0)
    found = replay([read_run(log_of(tmp_path, 0))])
    with Search.open(tmp_path / "run0") as search:
        own = [e for e in search.archive.designed() if 2 in e.results and e.duplicate_of is None]
        scores = {entry.alias: entry.score for entry in own}
        best = search.archive.best()
    met = {trial.alias: trial.score for trial in found.trials}
    assert best is not None and found.best == pytest.approx(best.score)
    assert set(scores) <= set(met) and len(met) > 20
    assert all(met[alias] == pytest.approx(score) for alias, score in scores.items())
    # Nobody is used before eight outcomes.
    assert all(trial.decision == "measure" for trial in found.trials[:8])


def test_a_replayed_judge_skips_audits_and_is_charged_for_what_it_misses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched(tmp_path, 0)
    gloomy(monkeypatch)
    found = replay([read_run(log_of(tmp_path, 0))])
    turned = [trial for trial in found.trials if trial.decision != "measure"]
    assert found.was_used and len(turned) > 10
    for start in range(0, len(turned) - 9, 10):
        assert [t.decision for t in turned[start : start + 10]].count("audit") == 1
    left = [t.score for t in found.trials if t.decision != "skip"]
    assert found.best_left == min([*found.baselines, *left]) >= found.best


def test_searches_on_one_text_are_joined_and_their_recipes_count_once(
    out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in (0, 1):
        searched(tmp_path, seed)
    gloomy(monkeypatch)
    words = ["--from", str(tmp_path / "record"), "--record", str(out / "kept")]
    made = run(judging_benchmark, monkeypatch, out, *words)
    alone, joined, _ = made["rows"]
    assert alone["searches"] == 2 and joined["searches"] == 1
    assert 30 < joined["measurements"] <= alone["measurements"] <= 60
    kept = read_record(out / "kept").counts
    assert kept["alone"][0]["measurements"] == alone["measurements"]
    assert kept["joined"][0]["skipped"] > kept["alone"][0]["audited"] > 0
    assert kept["all_joined"]["skipped"] == kept["joined"][0]["skipped"]
    both = [read_run(log_of(tmp_path, seed)) for seed in (0, 1)]
    assert both[0].measured_on == both[1].measured_on
    # A search joined with itself has no further recipe.
    assert len(replay([both[0], both[0]]).trials) == len(replay([both[0]]).trials)


def test_the_page_on_judging_has_the_counts_of_the_record() -> None:
    found = read_record(ROOT / "evidence" / "judging").counts
    text = (ROOT / "docs" / "judging.md").read_text(encoding="utf-8")
    groups: dict[str, list[Any]] = {"each alone": found["alone"]}
    for row in found["joined"]:
        split, searches = row["name"].split(", ")
        name = f"{split}, 9 joined" if searches.startswith("9") else "splits 236 to 243, 2 joined"
        groups.setdefault(name, []).append(row)
    names = ("searches", "measurements", "used_in", "skipped", "skipped_good")
    for name, rows in groups.items():
        line = next(line for line in text.splitlines() if line.startswith(f"| {name}"))
        cells = [cell.strip() for cell in line.strip("|").split("|")][1:]
        sums = {key: sum(row[key] for row in rows) for key in (*names, "audited", "audits_good")}
        assert cells[:5] == [str(sums[key]) for key in names]
        assert cells[5] == f"{sums['audits_good']} of {sums['audited']}"
        assert cells[6] == str(sum(row["best_skipped"] for row in rows)) == "0"
