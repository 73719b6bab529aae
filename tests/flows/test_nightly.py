"""Nights: seed and text by the date, and a gate on text that no night before looked at."""

import json
import logging
import shutil
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest

from autoprune.errors import UsageError
from autoprune.recipe import Recipe
from autoprune.search.spec import SearchSpec
from autoprune.search.starts import given_start
from autoprune.text.corpora import load_corpus
from autoprune.text.splits import split
from flows.evaluate import evaluate
from flows.nightly import flow as module
from flows.nightly import nightly
from flows.nightly.best_so_far import recipe_line, with_best_so_far
from flows.nightly.flow import dated
from flows.nightly.params import NightlyParams
from flows.promote import promote
from flows.search.params import SearchParams
from flows.search.runs import save_params
from tasks.ledger_file import Ledger, ledger_path
from tasks.publish import Publisher
from tasks.run_files import RunFiles
from tasks.sealed_looks import record_look
from tasks.state import State
from tasks.track import Tracker, register_checkpoint

FIRST = datetime(2026, 11, 27, 1, 0, tzinfo=UTC)


def test_each_date_has_a_seed_and_a_text_of_its_own_and_a_retry_the_same() -> None:
    plain = SearchParams(model="tiny")
    first, again = dated(plain, FIRST), dated(plain, FIRST)
    assert first == again
    # Days since 2000-01-01.
    assert (first.seed, first.text_split) == (9827, 9827)
    later = dated(plain, FIRST.replace(hour=20))
    assert (later.seed, later.text_split) == (9827, 9827) and later.run != first.run
    next_night = dated(plain, FIRST.replace(day=28))
    assert (next_night.seed, next_night.text_split) == (9828, 9828)
    assert first.spec().digest != next_night.spec().digest
    named = dated(plain.model_copy(update={"seed": 3, "text_split": 5, "run": "mine"}), FIRST)
    assert (named.seed, named.text_split, named.run) == (3, 5, "mine")


def test_nights_around_a_change_of_the_clocks_have_dates_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # 02:00 in Helsinki: both are 28 March in UTC.
    nights = [datetime(2027, 3, 28, hour, tzinfo=UTC) for hour in (0, 23)]
    zones = [(False, "Asia/Tokyo"), (True, "Europe/Helsinki")]
    schedules = [
        SimpleNamespace(active=active, schedule=SimpleNamespace(timezone=zone))
        for active, zone in zones
    ]
    client = SimpleNamespace(read_deployment=lambda _: SimpleNamespace(schedules=schedules))
    monkeypatch.setattr(module, "get_client", lambda **_: nullcontext(client))
    found = []
    for night in nights:
        runtime = SimpleNamespace(id=str(uuid4()), scheduled_start_time=night)
        monkeypatch.setattr(module, "flow_run", runtime)
        monkeypatch.setattr(module, "deployment", runtime)
        found.append(dated(SearchParams(model="tiny"), module._started()))
    assert [night.text_split for night in found] == [9948, 9949]
    assert [night.seed for night in found] == [9948, 9949]
    # Clocks go back: one local time twice, two names.
    once = datetime(2027, 10, 31, 0, 30, tzinfo=UTC).astimezone(ZoneInfo("Europe/Helsinki"))
    twice = (once.astimezone(UTC) + timedelta(hours=1)).astimezone(once.tzinfo)
    assert once.replace(tzinfo=None) == twice.replace(tzinfo=None)
    assert len({dated(SearchParams(model="tiny"), one).run for one in (once, twice)}) == 2
    # A run that no deployment started.
    monkeypatch.setattr(module, "deployment", SimpleNamespace(id=None))
    assert module._started().tzinfo is UTC


@dataclass
class FoundEachNight:
    """Stands for the search, which on a random model often has no winner: another one each night.

    It looks at its sealed text and registers what it found, as the search does.
    """

    model: Path
    folder: Path

    def __call__(self, tonight: SearchParams) -> dict[str, Any]:
        state, spec = State.open(), tonight.spec()
        splits = split(load_corpus(spec.corpus), spec.text_split)
        record_look(
            state, splits.sealed.digest, f"search {tonight.run}", splits.whole,
            kind="search", splits=splits,
        )  # fmt: skip
        assert tonight.run is not None
        out = shutil.copytree(self.model, self.folder / tonight.run)
        recipe = Recipe.parse("ria+mrp" if spec.seed == 9827 else "wanda+mrp")
        made = {
            "run": tonight.run, "seed": spec.seed, "text_split": spec.text_split,
            "model": spec.model, "target": spec.sparsity, "pattern": spec.pattern,
            "recipe": recipe.to_json(),
        }  # fmt: skip
        (out / "autoprune.json").write_text(json.dumps(made))
        tracker = Tracker(state)
        parent = tracker.parent("tiny", tonight.run, {"model": "tiny"}, {})
        found = register_checkpoint(
            tracker, parent, out, model=spec.model, sparsity=0.6, masks=tonight.run, tags={}
        )
        return {
            "run": tonight.run, "passed": True, "best": "C1", "report": "", "checkpoint": str(out),
            "registered": {"name": found.name, "version": found.version, "uri": "models:/tiny"},
            "facts": [f"{recipe.repair} is best"], "notes": [],
            "tracking_uri": "here", "next": "report",
        }  # fmt: skip


def test_the_gate_judges_on_text_that_no_night_before_looked_at(
    tiny_folder: Path, rows: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "search", FoundEachNight(tiny_folder, tmp_path))
    for name, flow in (("evaluate", evaluate), ("promote", promote)):
        monkeypatch.setattr(module, name, flow.fn)
    params = NightlyParams.model_validate(
        {
            "search": {"model": str(tiny_folder), "corpus": str(rows), "seqlen": 32},
            "measured_windows": 2,
            "promote": {"measured_windows": 2},
        }
    )
    shown: list[str] = []
    monkeypatch.setattr(Publisher, "report", lambda self, page: shown.append(self.key(page)))
    nights, before = [], []
    for day in (27, 28, 29):
        monkeypatch.setattr(module, "_started", lambda day=day: FIRST.replace(day=day))
        before.append({line["text"] for line in Ledger(ledger_path()).lines if "text" in line})
        nights.append(nightly.fn(params))
    dates = [night["night"] for night in nights]
    assert dates[0] == {"date": "2026-11-27", "seed": 9827, "text_split": 9827, "starts": []}
    # The champion, of the first night, is a start of those after it.
    assert [night["starts"] for night in dates[1:]] == [["ria+mrp"]] * 2
    assert [night["text_split"] for night in dates] == [9827, 9828, 9829]
    # The winner's figure is of the night's own sealed set, never of the whole text.
    for night, evaluated in zip(dates, (night["evaluation"] for night in nights), strict=True):
        (drawn,) = evaluated["splits"].values()
        assert (drawn["part"], drawn["seed"]) == ("sealed", night["text_split"])
    # The first winner is champion without a gate.
    gates = [night["promotion"] for night in nights[1:]]
    for gate, earlier in zip(gates, before[1:], strict=True):
        assert gate["sealed_set"]["earlier"] == 0
        assert gate["sealed_set"]["digest"] not in earlier
        (line,) = [check for check in gate["checks"] if check["name"] == "text"]
        assert "no earlier look" in line["detail"]
        assert gate["measured"]["champion"]["text"] == gate["measured"]["challenger"]["text"]
    assert [gate["text_split"] for gate in gates] == [0, 1]
    # Each night's own page begins with the verdict, and has the search's facts and no path of here.
    pages = [page for page in shown if page.startswith("nightly-# Night of")]
    assert [day in page for day, page in zip(("27", "28", "29"), pages, strict=True)] == [True] * 3
    assert (
        f"**version 1 of {nights[0]['registered']['name']} is champion: it is the first**"
        in pages[0]
    )
    assert all("mrp is best" in page for page in pages)
    assert str(State.open().root) not in "".join(pages)
    # Two nights of one date, such as those of two models, have texts of their own.
    monkeypatch.setattr(module, "_started", lambda: FIRST.replace(hour=20))
    again = nightly.fn(params)["night"]
    assert (again["date"], again["seed"], again["text_split"]) == ("2026-11-27", 9827, 9830)


def test_a_fresh_set_is_one_for_the_whole_night(
    tiny_folder: Path, rows: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "evaluate", evaluate.fn)
    wish = {"model": str(tiny_folder), "corpus": str(rows), "seqlen": 32, "text_split": "fresh"}
    params = NightlyParams.model_validate(
        {"search": wish, "measured_windows": 2, "promote_winner": False}
    )
    monkeypatch.setattr(module, "_started", lambda: FIRST)
    found = FoundEachNight(tiny_folder, tmp_path)
    asked: list[int | str] = []

    def killed_once(tonight: SearchParams) -> dict[str, Any]:
        asked.append(tonight.text_split)
        if len(asked) == 1:
            raise KeyboardInterrupt
        return found(tonight)

    monkeypatch.setattr(module, "search", killed_once)
    with pytest.raises(KeyboardInterrupt):
        nightly.fn(params)
    night = nightly.fn(params)
    (drawn,) = night["evaluation"]["splits"].values()
    assert asked == [0, 0] and (night["night"]["text_split"], drawn["seed"]) == (0, 0)


def test_a_text_with_one_sealed_set_is_refused_before_the_search(
    text_file: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "search", lambda params: pytest.fail("the search was started"))
    # The paragraphs of a .txt file follow each other.
    params = NightlyParams(search=SearchParams(model="tiny", corpus=str(text_file)))
    with pytest.raises(UsageError, match="every night would judge on text that the nights before"):
        nightly.fn(params)


def test_a_night_that_was_begun_keeps_its_starts_and_later_ones_take_the_latest_winner(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = State.open()
    winner = {
        "model": "tiny", "target": 0.6, "pattern": "unstructured",
        "recipe": {
            "metric": {
                "kind": "expression", "source": "abs(W) * x_norm ** {a:1}", "params": {"a": 0.5},
            },
            "group": "matrix", "allocation": "ramp", "solver": "mrp",
        },
    }  # fmt: skip
    folder = RunFiles.of(state, "first").winner
    folder.mkdir(parents=True)
    (folder / "autoprune.json").write_text(json.dumps(winner))
    tonight = dated(SearchParams(model="tiny"), FIRST)
    begun = with_best_so_far(state, tonight)
    assert begun.starts == ("expr:(abs(W) * x_norm ** {a:0.5})+matrix+ramp+mrp",)
    spec = begun.spec()
    assert SearchSpec.recorded(spec.to_json()) == spec
    last = spec.hand_made()[-1]
    assert (last.group, last.allocation, last.repair) == ("matrix", "ramp", "mrp")
    # Nothing given: the same bytes and the same digest as ever.
    assert "starts" not in tonight.spec().to_json()
    (RunFiles.of(state, tonight.run).folder).mkdir(parents=True)
    save_params(state, tonight.run, begun)
    (folder / "autoprune.json").unlink()
    assert with_best_so_far(state, tonight) == begun
    # No line can hold code, so a night after a program begins from the usual starts.
    program = {"kind": "program", "source": "def prune_layer(W): ...", "params": {}}
    recipe = {"metric": program, "group": "row", "allocation": "uniform", "solver": "none"}
    for scoring in ("sequential", "dense"):
        assert recipe_line(recipe | {"scoring": scoring}) == ""
    (folder / "autoprune.json").write_text(json.dumps(winner | {"recipe": recipe}))
    caplog.set_level(logging.INFO, "autoprune")
    assert (
        with_best_so_far(state, dated(SearchParams(model="tiny", run="next"), FIRST)).starts == ()
    )
    assert "tonight does not start from it" in caplog.messages[-1]
    summed = Recipe.parse("wanda+formula:(0.1*depth + 0.05*first)+mrp")
    assert given_start(recipe_line(summed.to_json())).recipe("none") == summed
    other = tonight.model_copy(update={"run": None, "sparsity": 0.5})
    assert with_best_so_far(state, other).starts == ()


def test_a_night_leaves_out_a_best_recipe_that_it_hides(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = State.open()
    metric = {"kind": "builtin", "source": "ria", "params": {}}
    recipe = {"metric": metric, "group": "row", "allocation": "ramp", "solver": "mrp"}
    found = {"model": "tiny", "target": 0.6, "pattern": "unstructured", "recipe": recipe}
    folder = RunFiles.of(state, "first").winner
    folder.mkdir(parents=True)
    (folder / "autoprune.json").write_text(json.dumps(found))
    caplog.set_level(logging.INFO, "autoprune")
    plain = SearchParams(model="tiny", starts=("ria",))
    assert with_best_so_far(state, plain).starts == ("ria", "ria+row+ramp+mrp")
