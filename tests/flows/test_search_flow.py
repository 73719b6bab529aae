"""Searches on a tiny model: limits, refusals, a store that is down, the sandbox."""

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from autoprune.errors import UsageError
from flows.search import search
from flows.search.params import SearchParams
from tasks.run_files import RunFiles
from tasks.state import State
from tasks.track import Tracker
from tests.support.command_line import CommandLine
from tests.support.mlflow_runs import mirrored
from tests.support.small_search import ANSWERS, FEW, LINE, script, small

Make = Callable[..., SearchParams]

PROGRAMS = [
    *(
        f"because: it is near wanda\nexpect: worse than ria\ngroup: row\nallocation: uniform\n"
        "```python\ndef score(W, stats, params):\n"
        f'    return W.abs() * stats["x_norm"] ** {power}\n```\n'
        for power in (0.7, 0.9)
    ),
    "because: it is wanda\nexpect: worse than ria\ngroup: row\nallocation: uniform\n"
    '```python\ndef score(W, stats, params):\n    return W.abs() * stats["x_norm"].sqrt()\n```\n',
    "because: why not\nexpect: better than wanda\ngroup: row\nallocation: uniform\n"
    "```python\nimport os\n\ndef score(W, stats, params):\n"
    "    os.system('id')\n    return W.abs()\n```\n",
    "because: divide\nexpect: better than wanda\ngroup: row\nallocation: uniform\n"
    "```python\ndef score(W, stats, params):\n    return W / (W - W)\n```\n",
]


@pytest.fixture
def make(
    tiny_folder: Path, text_file: Path, home: Path, request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> Make:  # fmt: skip
    """Parameters of a search of seconds; only tests that say so reach a Docker daemon."""
    if "docker" not in request.keywords:
        monkeypatch.setenv("DOCKER_HOST", "unix:///nobody/listens/here")

    def params(**changes: Any) -> SearchParams:
        # Fewer starts: none of those left out has a part in what is tested.
        fields: dict[str, Any] = {"candidates": 4, "slots": 2, "repairs": "none", "draws": 1}
        return small(tiny_folder, text_file, **fields | {"run": "tiny"} | changes)

    return params


def test_a_tiny_time_budget_measures_the_reference_and_nothing_else(make: Make) -> None:
    record = search.fn(make(minutes=1e-6, candidates=8, slots=2, register_winner=False))
    assert record["ended"] == "the time budget was used up" and not record["passed"]
    measured = [row["candidate"] for row in record["leaderboard"] if row["perplexity"] is not None]
    assert measured == ["wanda"]
    assert all(not row["candidate"].startswith("C") for row in record["leaderboard"])


def test_other_settings_in_the_same_run_are_refused(make: Make) -> None:
    make = partial(make, pattern="2:4")
    search.fn(make(candidates=0))
    with pytest.raises(UsageError, match="other settings"):
        search.fn(make(candidates=2))


def test_answers_without_a_metric_do_not_pass(cli: CommandLine, tmp_path: Path) -> None:
    answers = script(tmp_path, ["I cannot help with that."])
    line = f"{LINE} {FEW} --designer scripted --script {answers} --candidates 1 --run empty"
    record = cli.record(line, code=3)
    assert record["passed"] is False
    assert record["best"] is None or not record["best"].startswith("C")
    designed = [row for row in record["leaderboard"] if row["candidate"].startswith("C")]
    assert designed and {row["verdict"] for row in designed} == {"rejected"}
    assert {child.data.tags["autoprune.status"] for name, child in mirrored("empty").items()
            if name.startswith("C")} == {"rejected"}  # fmt: skip


def test_a_store_that_is_down_does_not_stop_the_search(
    make: Make, empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = State.open()
    state.tracking_database.write_text("this is no database")
    record = search.fn(make(run="blind"))
    assert record["passed"] and record["registered"] is None
    state.tracking_database.write_bytes(empty_store.read_bytes())
    again = search.fn(make(run="blind"))
    assert again["leaderboard"] == record["leaderboard"]
    assert again["registered"]["name"] == "autoprune.tiny.s60"
    everything = {row["candidate"] for row in record["leaderboard"]} | {""}
    assert set(mirrored("blind")) == everything
    # Another store has none of it until the same command runs again.
    other = f"sqlite:///{shutil.copy(empty_store, tmp_path / 'team.db')}"
    for place in (other, ""):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", place)
        moved = search.fn(make(run="blind"))
        assert set(mirrored("blind")) == everything
        kept = moved["registered"]
        version = Tracker(state).client.get_model_version(kept["name"], kept["version"])
        assert version.run_id == mirrored("blind")[""].info.run_id
    # A version that is gone is no version to promote.
    Tracker(state).client.delete_registered_model(kept["name"])
    unregistered = search.fn(make(run="blind", register_winner=False))
    assert unregistered["registered"] is None


@pytest.mark.docker
def test_formulas_go_through_the_container(make: Make, tmp_path: Path) -> None:
    answers = {"designer": "scripted", "script": script(tmp_path, ANSWERS)}
    make = partial(make, register_winner=False, **answers)
    outside = search.fn(make(run="outside"))
    inside = search.fn(make(sandbox="docker", run="inside"))
    assert inside["leaderboard"] == outside["leaderboard"]


def test_a_target_without_a_gguf_cannot_design_and_is_refused_at_once(cli: CommandLine) -> None:
    shown = ("convert_hf_to_gguf.py", "--designer local")
    cli.refuses(f"{LINE} --designer self --run own", *shown, code=4)
    assert not RunFiles.of(State.open(), "own").facts.exists()


@pytest.mark.docker
def test_programs_run_in_the_container_or_are_rejected_with_a_code(
    make: Make, tmp_path: Path
) -> None:
    # One generation: no measured second decides who is asked.
    asked = {"designer": "scripted", "language": "python", "candidates": 10, "slots": 10}
    answers = script(tmp_path, PROGRAMS)
    record = search.fn(make(sandbox="docker", script=answers, **asked))
    codes = {row["code"] for row in record["leaderboard"] if row["code"]}
    assert record["passed"]
    assert codes & {"screen_import", "nan_scores"}
    rows = {row["candidate"]: row for row in record["leaderboard"]}
    programs = [row for row in rows.values() if row["formula"] == "python"]
    assert any(row["perplexity"] is not None for row in programs)
    files = RunFiles.of(State.open(), "tiny")
    kept = json.loads((files.winner / "autoprune.json").read_text())["recipe"]["metric"]["kind"]
    best = record["best"]
    # Of a candidate without code the metric may be that of a start: repairs alone were joined.
    formula = {"expression", "builtin"} if best.startswith("C") else {"builtin"}
    assert kept in ({"python"} if rows[best]["formula"] == "python" else formula)
