"""A search's log as plain files: everything of it, readable while it runs, the same each time."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from autoprune.digest import digest_file
from autoprune.errors import DamagedFileError, UsageError
from autoprune.search import Search
from autoprune.search.events import EventLog
from autoprune.search.export import export_log
from autoprune.storage import write_json
from flows.cli import main
from flows.cli.parser import parse
from flows.params import checked
from flows.search.grammar import search_settings
from flows.search.params import SearchParams
from flows.search.runs import save_params
from tasks.run_files import RunFiles
from tasks.state import State
from tests.support.synthetic import Synthetic, drive, make_spec

# In two parts, since a test looks for such places.
HOME = "/home" + "/me"
ORIGIN = {"command": "a", "commit": "b", "machine": "c", "date": "d"}


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    with Search.open(folder, make_spec()) as search:
        drive(search, Synthetic())
    return folder


def test_everything_of_the_log_is_there(run: Path, tmp_path: Path) -> None:
    record = export_log(run / "search.db", tmp_path / "out", ORIGIN, {"run": "r"})
    out = tmp_path / "out"
    log = EventLog(run / "search.db")
    events = [vars(event) for event in log]
    log.close()
    assert lines(out / "events.jsonl") == events
    with Search.open(run) as search:
        entries = {entry.alias: entry for entry in search.entries}
        sealed = {a: e.sealed.nll for a, e in entries.items() if e.sealed is not None}
        best = search.best
        spec = json.loads((out / "search.json").read_text())["opened"]["spec"]
        assert spec == json.loads(json.dumps(search.spec.to_json()))
    losses = lines(out / "losses.jsonl")
    found = {e["asked"]["recipe_id"]: tuple(e["nll"]) for e in losses if e["part"] == "sealed"}
    assert found == sealed and best is not None and best.alias in found
    assert all(e["asked"]["recipe"] for e in losses if e["part"] == "sealed")
    assert not any("layer_sparsity" in e for e in losses), "only the log holds it"
    measured = [e for e in events if e["body"].get("outcome", {}).get("kind") == "Measurement"]
    assert sum(e["part"] == "selection" for e in losses) == len(measured) > 0
    asked = [e for e in events if e["body"].get("step", {}).get("kind") == "Propose"]
    questions = lines(out / "questions.jsonl")
    assert [q["question"] for q in questions] == [e["body"]["step"]["request"] for e in asked]
    assert [q["answer"] for q in questions] == [e["body"]["outcome"] for e in asked] != []
    assert record["files"] == {
        path.name: digest_file(path) for path in out.iterdir() if path.name != "record.json"
    }


def test_a_sealed_figure_stands_beside_the_recipe_that_was_sealed(tmp_path: Path) -> None:
    spec = make_spec(default_repair="mrp", repair_choices=("none", "mrp"), sentinel_every=1)
    with Search.open(tmp_path / "run", spec) as search:
        drive(search, Synthetic())
        recipes = {e.alias: e.recipe.to_json() for e in search.entries if e.recipe is not None}
    assert "mrp" in {recipe["solver"] for recipe in recipes.values()}
    export_log(tmp_path / "run" / "search.db", tmp_path / "out", ORIGIN, {"run": "r"})
    losses = lines(tmp_path / "out" / "losses.jsonl")
    sealed = {
        e["asked"]["recipe_id"]: e["asked"]["recipe"] for e in losses if e["part"] == "sealed"
    }
    assert sealed == {name: json.loads(json.dumps(recipes[name])) for name in sealed} != {}


def test_the_same_log_gives_the_same_bytes_also_while_it_is_open(run: Path, tmp_path: Path) -> None:
    export_log(run / "search.db", tmp_path / "one", ORIGIN, {})
    (tmp_path / "one" / "figures.json").write_text("a person's")
    with Search.open(run):
        export_log(run / "search.db", tmp_path / "two", ORIGIN, {})
        export_log(run / "search.db", tmp_path / "one", ORIGIN, {})
    assert (tmp_path / "one" / "figures.json").read_text() == "a person's"
    (tmp_path / "one" / "figures.json").unlink()
    one, two = ({p.name: p.read_bytes() for p in (tmp_path / n).iterdir()} for n in ("one", "two"))
    assert one == two and len(one) == 6


def test_what_is_no_record_is_left_alone_and_a_damaged_log_named(run: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "letter.txt").write_text("mine")
    with pytest.raises(UsageError, match="not a record of a search"):
        export_log(run / "search.db", mine, ORIGIN, {})
    assert (mine / "letter.txt").read_text() == "mine"
    (tmp_path / "search.db").write_bytes(b"no database at all, not in the least")
    with pytest.raises(DamagedFileError, match=r"search\.db is not a readable search log"):
        export_log(tmp_path / "search.db", tmp_path / "out", ORIGIN, {})
    assert not (tmp_path / "out").exists()


def test_the_command_writes_what_evidence_accepts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AUTOPRUNE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("HOME", HOME)
    files = RunFiles.of(State.open(), "small")
    with Search.open(files.folder, make_spec(corpus=f"{HOME}/text.txt")) as search:
        drive(search, Synthetic())
        best = search.best
        assert best is not None and best.sealed is not None
    out = tmp_path / "out"
    export = ["export-record", "small", "--out", str(out)]
    save_params(State.open(), "small", SearchParams(corpus=f"{HOME}/text.txt", seed=3))
    files.open_facts().add(model_digest="ab", checkpoint="/a/place/of/this/machine")
    assert main(export) == 2 and "has measured nothing yet" in capsys.readouterr().err
    facts = {"machine": {"autoprune": "9"}, "created": "2026-11-28", "stages": {"sealed": 2.0}}
    files.open_facts().add(**facts)
    assert main(export) == 0
    assert "questions.jsonl" in capsys.readouterr().out
    record = json.loads((out / "record.json").read_text())
    assert record["command"].endswith("--corpus ~/text.txt --arm whole --seed 3")
    assert record["commit"] == "unknown, version 9"
    assert best.sealed.nll in [tuple(e["nll"]) for e in lines(out / "losses.jsonl")]
    assert json.loads((out / "search.json").read_text())["facts"] == {"model_digest": "ab", **facts}
    files.open_facts().add(commit="f00d")
    assert main(export) == 0
    assert json.loads((out / "record.json").read_text())["commit"] == "f00d"
    assert not (out / "counts.json").exists()
    rates = {
        "dense": {"tokens_per_second": 4.0, "bytes": 9},
        "smaller": {"tokens_per_second": 5.0, "bytes": 7},
    }
    made = {"scheme": "depth", "steps": [], "share_removed": 0.2, "beside_dense": rates}
    write_json(files.smaller / "autoprune.json", made)
    assert main(export) == 0
    second = json.loads((out / "counts.json").read_text())["second"]
    assert second["beside_dense"]["smaller"]["bytes"] == 7 and second["faster"] == 1.25
    assert "counts.json" in json.loads((out / "record.json").read_text())["files"]
    assert main(["export-record", "smal", "--out", str(out)]) == 2
    assert "did you mean small" in capsys.readouterr().err


def test_the_command_of_a_search_asks_for_the_same(tmp_path: Path) -> None:
    params = SearchParams(
        model="my model", sparsity=0.5, designer=f"files:{tmp_path}", designer_model="frontier",
        starts=("wanda+ramp", "ria"), also_sparsities=(0.5, 0.7), hints=False, wait=False,
        arm="graph", run="mine", register_winner=False, seed=5,
    )  # fmt: skip
    line = params.command()
    assert line.startswith("autoprune search 'my model' ")
    assert str(tmp_path) not in line and "mine" not in line
    again = checked(SearchParams, search_settings(parse(shlex.split(line)[1:])))
    assert again.spec() == params.spec() and not again.register_winner
    for changes in ({"candidates": 24, "evaluations": 3}, {"evaluations": 3}):
        params = SearchParams(model="m", **changes)
        again = checked(SearchParams, search_settings(parse(shlex.split(params.command())[1:])))
        assert (again.candidates, again.evaluations) == (params.candidates, 3)
