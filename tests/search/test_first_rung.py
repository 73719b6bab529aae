"""The first rung of programs: fewer calibration windows, and no figure taken for another's."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from autoprune.design.chat import ChatRequest
from autoprune.design.detail import change_of
from autoprune.design.transports import ScriptedDesigner
from autoprune.report.gathering import with_search
from autoprune.report.leaderboard import leaderboard
from autoprune.search import Search, SearchSpec
from autoprune.search.archive import Archive
from autoprune.search.costs import Costs
from autoprune.search.steps import Measure, Outcome, Step
from tests.report.test_gathering import BARE
from tests.search.test_program_recipes import program_spec, written
from tests.support.synthetic import drive, make_spec
from tests.support.synthetic_programs import Programs


def test_a_program_prunes_with_a_quarter_of_the_text_first_and_then_with_all(
    tmp_path: Path,
) -> None:
    steps: list[Measure] = []

    class Noting(Programs):
        def answer(self, step: Step) -> Outcome:
            if isinstance(step, Measure) and step.role == "candidate":
                steps.append(step)
            return super().answer(step)

    with Search.open(tmp_path, program_spec()) as search:
        drive(search, Noting(ScriptedDesigner(written)))
        programs = {e.alias for e in search.entries if e.is_program and not e.is_baseline}
        first = [s for s in steps if s.rung == 1 and s.recipe_id in programs]
        second = {s.recipe_id: s for s in steps if s.rung == 2 and s.recipe_id in programs}
        assert first and {s.calibration for s in first} == {4}
        # Nothing of the first figure is kept: it was another way of pruning.
        assert second and {(s.calibration, s.known) for s in second.values()} == {(None, 0)}
        for entry in search.entries:
            if entry.is_program and entry.status == "measured":
                only_first = entry.rung == 1
                assert entry.left_out == ("fewer calibration windows" if only_first else "")
                assert (entry.whole is None) == only_first
                shown = change_of(search.graph, entry.alias)
                assert shown.endswith("fewer calibration windows") == only_first
        # A figure with all windows never stands in for one with few.
        known = [search.archive.cheap(search.archive[alias]) for alias in second]
        assert all(one is not None and len(one.nll) == 3 for one in known)


def test_how_much_text_the_first_rung_of_a_program_reads_is_on_record() -> None:
    assert [program_spec(calibration_windows=n).first_calibration for n in (2, 8, 16, 64)] == [
        2,
        4,
        4,
        16,
    ]
    asked = program_spec(rung_calibration_windows=6)
    assert asked.first_calibration == 6 and SearchSpec.recorded(asked.to_json()) == asked
    assert program_spec().to_json()["rung_calibration_windows"] is None
    # Earlier versions read all windows, and go on so.
    before = {k: v for k, v in program_spec().to_json().items() if k != "rung_calibration_windows"}
    continued = SearchSpec.recorded(before)
    assert continued.first_calibration == 16 and continued.to_json() == before
    assert "rung_calibration_windows" not in make_spec().to_json()
    for wrong in ({"rung_calibration_windows": 17}, {"language": "expression"}):
        with pytest.raises(ValidationError, match="rung_calibration_windows"):
            program_spec(**{"rung_calibration_windows": 6, **wrong})


def test_the_first_rung_of_a_program_costs_its_share_of_the_text() -> None:
    spec = program_spec()
    costs = Costs(spec, Archive("wanda"))
    costs.program = lambda: 100.0  # type: ignore[method-assign]
    costs.plain = lambda: 6.0  # type: ignore[method-assign]
    assert costs.designed(spec.rung_windows) == 25.0 + 3.0
    assert costs.designed(spec.selection_windows) == 106.0


def test_a_program_with_a_repair_leaves_out_both_and_with_all_text_only_the_repair(
    tmp_path: Path,
) -> None:
    def tuned(request: ChatRequest) -> str:
        return written(request).replace("```python", "repair: ebft\n```python")

    for windows, wanted in ((16, "masks alone, fewer calibration windows"), (4, "masks alone")):
        spec = program_spec(calibration_windows=windows, repair_choices=("none", "ebft"))
        with Search.open(tmp_path / str(windows), spec) as search:
            drive(search, Programs(ScriptedDesigner(tuned)))
            few = [e for e in search.entries if e.is_program and e.rung == 1 and e.proxied]
            report = with_search(BARE, search)
            assert few and {entry.left_out for entry in few} == {wanted}
            shown = {entry.id: entry for entry in report.entries}
            for entry in few:
                assert change_of(search.graph, entry.alias).endswith(f", {wanted}")
                assert shown[entry.alias].solver.endswith(", not applied")
                assert shown[entry.alias].left_out == wanted
            listed = {row.candidate: row.left_out for row in leaderboard(report)}
            assert {listed[entry.alias] for entry in few} == {wanted}
