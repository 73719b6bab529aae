"""Sentinels are measured again; one that gives other figures stops the search."""

from dataclasses import replace
from pathlib import Path

import pytest
from synthetic import Synthetic, drive, make_spec

from autoprune.search import Budget, DesignerSpec, Search
from autoprune.search.steps import Done, Measurement, Outcome, Step


def test_dense_and_controls_are_measured_again_before_anything_is_sealed(tmp_path: Path) -> None:
    driver = Synthetic()
    with Search.open(tmp_path, make_spec(designer=DesignerSpec(kind="genetic"))) as search:
        drive(search, driver)
        checks = {s.name: s.checks for s in search.sentinels}
        assert checks == {"dense": 4, "wanda": 2, "magnitude": 1, "random": 1}
        assert {s.largest for s in search.sentinels} == {0.0} and search.drift == ""
    again = [step for step in driver.asked if step.endswith(".sentinel")]
    # Of the baselines the first figures are known.
    assert again[:2] == ["first.dense.sentinel", "first.random.sentinel"]
    assert again[-2:] == driver.asked[-3:-1] == ["end.dense.sentinel", "end.wanda.sentinel"]


@pytest.mark.parametrize("name", ["dense", "magnitude"])
def test_drift_of_a_sentinel_stops_the_search(tmp_path: Path, name: str) -> None:
    with Search.open(tmp_path, make_spec(designer=DesignerSpec(kind="genetic"))) as search:
        driver = Synthetic()
        while not isinstance(step := search.next_step(), Done):
            outcome = driver.answer(step)
            if step.step_id in ("g3.dense.sentinel", f"g3.{name}.sentinel"):
                assert isinstance(outcome, Measurement)
                moved = 0.01 if step.step_id == f"g3.{name}.sentinel" else 1e-5
                outcome = replace(outcome, nll=tuple(n + moved for n in outcome.nll))
            search.record(step, outcome)
        assert step == Done("drift")
        assert search.touches == 0
        assert search.drift == f"{name} differs by 0.01 nats per token"
        assert search.drift in search.graph.nodes["drift"].body["text"]


def test_a_machine_on_which_a_dense_pass_is_slow_makes_it_in_turn(tmp_path: Path) -> None:
    class Slow(Synthetic):
        def answer(self, step: Step) -> Outcome:
            return replace(super().answer(step), seconds=3.0)

    driver, spec = Slow(), make_spec(budget=Budget(candidates=4))
    with Search.open(tmp_path, spec) as search:
        drive(search, driver)
    assert [s for s in driver.asked if s.startswith("end.")] == ["end.dense.sentinel"]
