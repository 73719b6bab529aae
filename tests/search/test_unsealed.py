"""A search whose winner has no sealed figure ends all the same, and says why there is none."""

from dataclasses import replace
from pathlib import Path

import pytest

from autoprune.report.data import RunReport
from autoprune.report.gathering import with_search
from autoprune.report.page import page
from autoprune.report.sentences import summary, trust
from autoprune.search import DesignerSpec, Search, SearchBudget
from autoprune.search.steps import Done, Failed, Measurement, Outcome, Seal, Sealed, Step
from tests.support.sketched import sketched as sketched
from tests.support.synthetic import Synthetic, drive, make_spec

BARE = RunReport("r", "2026-04-12T22:10:04+00:00", "synthetic", "none", 0.6, 20.0, ())
TIMEOUT = Failed("timeout", "no answer after 20 s")


class FailsAtTheSeal(Synthetic):
    """The first recipe, the winner, is lost in the way of ``loses``."""

    loses = "failure"

    def answer(self, step: Step) -> Outcome:
        found = super().answer(step)
        if not isinstance(step, Seal):
            return found
        assert isinstance(found, Sealed)
        if self.loses == "everything":
            return TIMEOUT
        winner = step.recipes[0][0]
        kept = dict(found.measurements)
        broken = kept.pop(winner)
        if self.loses == "nan":
            kept[winner] = replace(broken, perplexity=float("nan"))
        return replace(
            found,
            measurements=kept,
            failures={winner: TIMEOUT} if self.loses == "failure" else {},
        )


@pytest.mark.parametrize(
    ("loses", "why"),
    [
        ("failure", "timeout: no answer after 20 s"),
        ("everything", "timeout: no answer after 20 s"),
        ("nan", "nan_measurement: a figure is not finite"),
        ("silence", "missing: no figure came back"),
    ],
)
def test_the_winner_says_why_it_has_no_sealed_figure(tmp_path: Path, loses: str, why: str) -> None:
    driver = FailsAtTheSeal()
    driver.loses = loses
    with Search.open(tmp_path, make_spec()) as search:
        assert drive(search, driver) == Done("candidates")
        best = search.best
        assert best is not None and best.sealed is None and best.unsealed == why
        entries = {entry.alias: entry for entry in search.entries}
        assert (entries["wanda"].sealed is None) == (loses == "everything")
        node = search.graph.nodes[f"{best.alias}.rsealed"]
        assert node.body["code"] == why.partition(":")[0]
        # The verdict of the sealed text is none on the recipe.
        newest = search.graph.newest_result(best.alias)
        assert newest is not None and newest.body["status"] == "measured"
        report = with_search(BARE, search)
        shown = f"{best.alias} has no sealed figure ({why})."
        assert shown in trust(report)
        assert any(f"no sealed figure ({why})" in text for text in summary(report))
        assert "| failed |" in page(report, {})
        digest = search.graph.digest
    # The text is not read once more, and the record says the same.
    with Search.open(tmp_path) as again:
        assert again.next_step() == Done("candidates")
        assert again.graph.digest == digest and again.looks == 1
        assert again.best is not None and again.best.unsealed == why


def test_after_drift_the_winner_says_that_nothing_was_sealed(tmp_path: Path) -> None:
    spec = make_spec(designer=DesignerSpec(kind="genetic"), budget=SearchBudget(candidates=8))
    driver = Synthetic()
    with Search.open(tmp_path, spec) as search:
        while not isinstance(step := search.next_step(), Done):
            outcome = driver.answer(step)
            if step.step_id == "end.dense.sentinel":
                assert isinstance(outcome, Measurement)
                outcome = replace(outcome, nll=tuple(n + 0.01 for n in outcome.nll))
            search.record(step, outcome)
        assert step == Done("drift") and search.best is not None
        assert search.best.unsealed == "drift: dense differs by 0.01 nats per token"
