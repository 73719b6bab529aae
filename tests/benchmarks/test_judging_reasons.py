"""What designers wrote as judges of recorded searches: read as a search reads it, then replayed."""

import gzip
import json
import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from autoprune.design.chat import Reply
from autoprune.design.parsing import Prediction
from autoprune.search import DesignerSpec, Search, SearchBudget, SearchSpec
from autoprune.search.export import read_events
from autoprune.search.search import LOG_FILE
from autoprune.search.steps import Outcome, Propose, Step, Verified, Verify
from benchmarks import judging_reasons, table
from benchmarks.evidence.records import read_record
from benchmarks.judging_answers import answers_of
from benchmarks.judging_replay import Answer, Run, read_run, replay
from benchmarks.measured import ROOT
from tests.support.benchmark_run import run
from tests.support.synthetic import Synthetic, drive, make_spec


@dataclass
class Written(Synthetic):
    """Answers with a forecast in numbers; scores reasons by their length, and keeps them."""

    seen: list[Verify] = field(default_factory=list)

    def answer(self, step: Step) -> Outcome:
        if isinstance(step, Verify):
            self.seen.append(step)
            return scored(step)
        found = super().answer(step)
        if isinstance(step, Propose) and isinstance(found, Reply):
            text = found.text.replace("expect: better than wanda", "expect: -3 % against wanda")
            return replace(found, text=text)
        return found


def scored(step: Verify) -> Verified:
    return Verified(tuple(0.2 + 1 / (2 + len(text)) for text in step.reason))


def spec_of(**changes: Any) -> SearchSpec:
    budget = SearchBudget(candidates=20, evaluations=900)
    return make_spec(**{"arm": "list", "budget": budget, **changes})


def searched(folder: Path, spec: SearchSpec, driver: Synthetic, name: str = "list-3") -> Path:
    """The log of a finished search, as evidence; the search's entries are read from its folder."""
    with Search.open(folder / name, spec) as search:
        drive(search, driver)
    lines = [json.dumps(vars(event)) for event in read_events(folder / name / LOG_FILE)]
    log = folder / "record" / "logs" / f"{name}.jsonl.gz"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_bytes(gzip.compress("\n".join(lines).encode()))
    return log


def test_answers_are_read_and_reasons_asked_for_as_a_search_does(tmp_path: Path) -> None:
    # Few enough that no judge can be used and skip something.
    few = SearchBudget(candidates=6, evaluations=900)
    judged = Written()
    spec = spec_of(budget=few, judge="on", judge_verifier="surprisal")
    searched(tmp_path / "judged", spec, judged)
    log = searched(tmp_path, spec_of(budget=few), Written())
    asked: list[Verify] = []

    def score(step: Verify) -> Verified:
        asked.append(step)
        return scored(step)

    answers = answers_of(log, "surprisal", score)
    assert asked == judged.seen and len(asked) > 3
    with Search.open(tmp_path / "judged" / "list-3") as search:
        for alias, answer in answers.items():
            entry = search.archive[alias]
            assert (answer.because, answer.trust) == (entry.because, entry.trust)
            assert answer.prediction is not None and entry.prediction is not None
            assert answer.prediction.forecast == entry.prediction.forecast
    assert any(a.prediction and a.prediction.change == -0.03 for a in answers.values())


def test_a_log_of_other_steps_is_refused(tmp_path: Path) -> None:
    log = searched(tmp_path, spec_of(), Written())
    text = gzip.decompress(log.read_bytes()).decode()
    # Another wording of questions is none of its business.
    log.write_bytes(gzip.compress(text.replace('"content": "', '"content": "Please. ').encode()))
    assert answers_of(log, "surprisal", scored)
    log.write_bytes(gzip.compress(text.replace('"windows": 6', '"windows": 5').encode()))
    with pytest.raises(SystemExit, match=r"plans magnitude\.rung2 otherwise"):
        answers_of(log, "surprisal", scored)


def known(recorded: Run) -> Run:
    """The same search whose designer knew how each recipe would end."""
    base = {result.alias: result.found.nll for result in recorded.baselines}["wanda"]
    answers = {}
    for result in (result for batch in recorded.batches for result in batch):
        mean = sum(a - b for a, b in zip(result.found.nll, base, strict=True)) / len(base)
        prediction = Prediction("better", "wanda", forecast=f"{100 * math.expm1(mean):+.3f} %")
        answers[result.alias] = Answer("it is so", prediction)
    return replace(recorded, answers=answers)


def test_only_the_judges_asked_have_an_opinion(tmp_path: Path) -> None:
    log = searched(tmp_path, spec_of(), Written())
    recorded = replace(read_run(log), answers=answers_of(log, "surprisal", scored))
    for judge in ("past", "designer", "verifier"):
        found = replay([recorded], [judge])
        assert {name for trial in found.trials for name in trial.chances} == {judge}
    silent = replay([recorded], [])
    assert not any(trial.chances for trial in silent.trials) and not silent.skipped
    # Without answers there is nothing to forecast from.
    assert not any(t.chances for t in replay([read_run(log)], ["designer", "verifier"]).trials)


def test_a_forecast_counts_from_the_recipe_it_names_in_joined_searches_too(tmp_path: Path) -> None:
    log = searched(tmp_path, spec_of(), Written())
    recorded = read_run(log)
    exact = known(recorded)
    for runs in ([exact], [exact, exact]):
        found = replay(runs, ["designer"])
        assert found.trials
        for trial in found.trials:
            assert trial.stated == pytest.approx(trial.score, abs=1e-4)
    # A forecast against a recipe of its own search that another search had first.
    first = recorded.batches[0][0].alias
    later = recorded.batches[1][0].alias
    moved = Answer("it is so", Prediction("better", first, forecast="+0 %"))
    second = replace(exact, answers={**exact.answers, later: moved})
    twice = replay([replace(exact, batches=exact.batches[:1]), second], ["designer"])
    scores = {trial.alias: trial.score for trial in twice.trials}
    (own,) = [trial for trial in twice.trials if trial.alias == f"S2.{later}"]
    assert own.stated == pytest.approx(scores[f"S1.{first}"])


def test_the_benchmark_counts_opinions_grades_and_what_was_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    monkeypatch.setattr(table, "OUT", out)
    monkeypatch.setattr(judging_reasons, "OUT", out)
    chains: list[Any] = []

    class Verifier:
        def score_chains(self, given: Any) -> list[list[float]]:
            chains.extend(given)
            return [[0.2 + 1 / (2 + len(text)) for text in chain.steps] for chain in given]

    model = SimpleNamespace(model=SimpleNamespace(dtype="torch.bfloat16"))
    monkeypatch.setattr(judging_reasons, "load_model", lambda *_, **__: model)
    monkeypatch.setattr(judging_reasons, "open_verifier", lambda *_: Verifier())
    searched(tmp_path, spec_of(), Written())
    log = searched(tmp_path, spec_of(seed=4), Written(), "list-4")
    # The same log twice counts once, and a search without a designer not at all.
    (log.parent / "list-5.jsonl.gz").write_bytes(log.read_bytes())
    moves = DesignerSpec(kind="genetic")
    searched(tmp_path, spec_of(arm="genetic", designer=moves), Written(), "genetic-3")
    words = ["--from", str(tmp_path / "record"), "--record", str(out / "kept")]
    rows = run(judging_reasons, monkeypatch, out, *words)["rows"]
    assert len(rows) == 10
    found = read_record(out / "kept").counts
    assert found["answers"]["searches"] == 2
    assert found["answers"]["forecasts"] <= found["answers"]["measured"]
    lines = gzip.decompress((out / "kept" / "opinions.jsonl.gz").read_bytes()).decode().splitlines()
    opinions = [json.loads(line) for line in lines]
    for judge, row in found["alone"].items():
        own = [o for o in opinions if (o["group"], o["judge"]) == ("alone", judge)]
        assert row["replays"] == 2 and row["measurements"] == len(own)
        given = [o for o in own if o["chance"] is not None]
        assert row["opinions"] == len(given)
        assert row["skipped"] == sum(o["decision"] == "skip" for o in own)
        if given:
            brier = sum((o["chance"] - o["good"]) ** 2 for o in given) / len(given)
            assert row["brier"] == pytest.approx(brier)
            assert row["low"] <= row["difference"] <= row["high"]
            assert row["difference"] == pytest.approx(row["brier"] - row["constant"])
    assert found["alone"]["surprisal"]["opinions"] > 0
    assert found["joined"]["past"]["replays"] == 1
    # What was read is kept.
    read = len(chains)
    run(judging_reasons, monkeypatch, out, *words)
    assert read and len(chains) == read
    # A head is one more judge; another one reads anew.
    for number, content in enumerate(("one", "other"), 1):
        head = tmp_path / content
        head.mkdir()
        (head / "verifier.json").write_text(content)
        assert (
            len(run(judging_reasons, monkeypatch, out, *words, "--head", str(head))["rows"]) == 12
        )
        assert len(chains) == read + number * read // 2
    kept = read_record(out / "kept")
    assert kept.counts["alone"]["uhead"]["opinions"] > 0
    assert str(tmp_path) not in kept.body["command"]


def test_the_page_on_judging_has_the_counts_of_the_record() -> None:
    found = read_record(ROOT / "evidence" / "judging-reasons").counts
    text = (ROOT / "docs" / "judging.md").read_text(encoding="utf-8")
    verifiers = (*judging_reasons.VERIFIERS, judging_reasons.HEAD)
    names = {name: f"verifier {name}" for name in verifiers}
    for group in ("alone", "joined"):
        for judge, row in found[group].items():
            name = names.get(judge, "all three" if judge == "together" else judge)
            (line,) = [one for one in text.splitlines() if one.startswith(f"| {name}, {group}")]
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            audits = f"{row['audits_good']} of {row['audited']}"
            counts = [row["used_in"], row["skipped"], row["skipped_good"]]
            assert cells[1] == str(row["opinions"] or "")
            assert cells[6:] == [*map(str, counts), audits, str(row["best_skipped"])]
