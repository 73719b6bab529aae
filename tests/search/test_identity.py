"""A search goes on with its own settings, prompts and steps only."""

import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autoprune.errors import UsageError
from autoprune.search import DesignerSpec, Search, SearchBudget, SearchSpec, identity
from autoprune.search.archive import Entry
from autoprune.search.evaluator import Evaluator
from autoprune.search.events import Event, EventLog
from autoprune.search.starts import RecipeSpec
from autoprune.search.steps import Measure
from tests.support.synthetic import Synthetic, drive, make_spec


def test_other_settings_need_another_folder(tmp_path: Path) -> None:
    Search.open(tmp_path, make_spec()).close()
    with pytest.raises(UsageError, match=r"\(sparsity: 0.6 on record, now 0.7\)"):
        Search.open(tmp_path, make_spec(sparsity=0.7))
    # Of what a setting holds, only what differs is named; lists are not quoted.
    longer = make_spec(budget=SearchBudget(candidates=99), repair_choices=("none", "mrp"))
    with pytest.raises(UsageError, match=r"\(budget.candidates: \d+ on record, now 99, solvers\)"):
        Search.open(tmp_path, longer)
    with pytest.raises(UsageError, match="no search"):
        Search.open(tmp_path / "elsewhere")


def test_a_later_search_in_the_same_folder_is_another_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened() -> str:
        with Search.open(tmp_path / "evening", make_spec()) as search:
            return search.log_id

    first = opened()
    assert len(first) == identity.ID_DIGITS and opened() == first
    shutil.rmtree(tmp_path / "evening")
    assert opened() != first
    # Logs of earlier versions have none.
    monkeypatch.setattr(EventLog, "append", without_id(EventLog.append))
    shutil.rmtree(tmp_path / "evening")
    assert opened() == ""


def without_id(append: Callable[..., Event]) -> Callable[..., Event]:
    def appended(log: EventLog, kind: str, key: str, body: dict[str, Any]) -> Event:
        return append(log, kind, key, {name: value for name, value in body.items() if name != "id"})

    return appended


def test_a_record_has_the_names_of_earlier_versions() -> None:
    designer = DesignerSpec(kind="scripted", answer_tokens=99)
    start = RecipeSpec(metric="ria", repair="mrp")
    made = {"draws": 2, "repair_calls": 0, "default_repair": "mrp", "repair_choices": ("mrp",)}
    spec = make_spec(**made, starts=(start,), designer=designer)
    body = spec.to_json()
    found = (body["calibration_draws"], body["repairs"], body["designer"]["max_tokens"])
    assert found == (2, 0, 99) and body.keys().isdisjoint(made)
    repairs = (body["solver"], body["solvers"], body["starts"][0]["solver"])
    assert repairs == ("mrp", ["mrp"], "mrp")
    assert SearchSpec.recorded(body) == spec


CURRENT = identity.planners()


@pytest.mark.parametrize("planners", [None, {"AutoPrune": "0.0.9", "Optuna": "2.0"}, CURRENT])
def test_results_of_another_version_are_not_put_down_to_other_recipes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, planners: dict[str, str] | None
) -> None:
    spec = make_spec()
    known = {"planners": planners} if planners else {}
    monkeypatch.setattr(identity, "planners", lambda: known.get("planners", {}))
    with Search.open(tmp_path, spec) as search:
        drive(search, Synthetic(), stop=lambda count: count == 12)
    monkeypatch.undo()
    Search.open(tmp_path).close()
    # Another version plans under the same name what the recorded figure was not measured for.
    monkeypatch.setattr(Evaluator, "measure_step", other_masks(Evaluator.measure_step))
    named = " with ".join(f"{name} {number}" for name, number in (planners or {}).items())
    here = "changed code of the same version" if planners == CURRENT else "AutoPrune .* with .*"
    shown = (
        rf"made by {named or 'an earlier version'}.*; here {here} plans step ria\.rung2 \(recipe\)"
    )
    with pytest.raises(UsageError, match=shown):
        Search.open(tmp_path)


def other_masks(planned: Callable[..., Measure]) -> Callable[..., Measure]:
    def other(evaluator: Evaluator, entry: Entry, rung: int, **more: Any) -> Measure:
        step = planned(evaluator, entry, rung, **more)
        changed = step.step_id == "ria.rung2"
        return replace(step, recipe=replace(step.recipe, group="matrix")) if changed else step

    return other


def test_settings_that_a_log_lacks_have_their_defaults(tmp_path: Path) -> None:
    Search.open(tmp_path, make_spec()).close()
    database = sqlite3.connect(tmp_path / "search.db")
    database.execute("DROP TRIGGER events_stay")
    database.execute("UPDATE events SET body = json_remove(body, '$.spec.promote')")
    database.commit()
    Search.open(tmp_path, make_spec()).close()
    database.execute("DROP TRIGGER events_stay")
    database.execute("UPDATE events SET body = json_insert(body, '$.spec.gone', 1)")
    database.commit()
    database.close()
    with pytest.raises(UsageError, match=r"gone.*continue with the version that made it"):
        Search.open(tmp_path)


def test_other_prompts_need_another_folder(tmp_path: Path) -> None:
    Search.open(tmp_path / "run", make_spec()).close()
    (tmp_path / "user.j2").write_text("{{ instruction }}")
    with pytest.raises(UsageError, match="prompts"):
        Search.open(tmp_path / "run", prompts=tmp_path)
