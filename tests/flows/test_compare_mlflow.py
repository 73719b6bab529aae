"""A comparison in MLflow: one run, a child for whatever people compare there."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from autoprune.comparison.writing import FILES
from flows.compare import run as running
from tasks.compare_bench import CompareBench
from tasks.state import PAGE_VARIABLE, State
from tasks.track import Tracker
from tests.support.command_line import CommandLine
from tests.support.mlflow_runs import children_of
from tests.support.small_comparison import LINE, Compared


@pytest.fixture
def client(home: Path) -> MlflowClient:
    return Tracker(State.open(home)).client


def children(client: MlflowClient, parent: str) -> dict[str, Run]:
    return {run.info.run_name: run for run in children_of(client, parent)}


def test_a_store_that_goes_away_at_the_end_costs_no_table(
    compared: Compared, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(self: Tracker, parent: str) -> str:
        raise ConnectionError("the server is gone")

    monkeypatch.setattr(Tracker, "experiment_of", gone)
    result = compared(draws=1)
    assert result["mlflow_run"] is None and len(result["rows"]) == 1
    assert all((Path(result["folder"]) / name).is_file() for name in FILES)


def test_a_comparison_is_a_run_with_a_child_per_row(
    compared: Compared, client: MlflowClient
) -> None:
    result = compared("wanda,wanda+ramp,random+mrp", pattern=["2:4"])
    parent = client.get_run(result["mlflow_run"])
    protocol = result["protocol"]
    assert client.get_experiment(parent.info.experiment_id).name == "autoprune/tiny"
    assert parent.info.status == "FINISHED"
    params, tags = parent.data.params, parent.data.tags
    assert params["methods"] == "wanda,wanda+ramp,random+mrp" and params["seqlen"] == "32"
    assert params["sealed_digest"] == tags["sealed.digest"] == protocol["sealed_digest"]
    assert json.loads(params["draw_digests"]) == protocol["draw_digests"]
    assert tags["model.digest"] == params["model_digest"] == protocol["model_digest"]
    assert tags["version.torch"] and tags["autoprune.kind"] == "comparison"
    assert not {"output", "runner", "workers"} & params.keys()
    assert result["recommendation"][0]["text"] in tags["mlflow.note.content"]
    assert tags["recommended.50 percent"] == result["recommendation"][0]["method"]
    metrics = parent.data.metrics
    assert metrics["dense_sealed_perplexity"] == result["dense_perplexity"]
    assert metrics["sealed_touches_total"] == protocol["sealed_touches"]
    assert metrics["cells_planned_total"] == metrics["cells_finished_total"] == 12
    assert {file.path for file in client.list_artifacts(parent.info.run_id)} == set(FILES)

    runs = children(client, result["mlflow_run"])
    assert runs.keys() == {f"{row['method']} at {row['target']}" for row in result["rows"]}
    for row in result["rows"]:
        data = runs[f"{row['method']} at {row['target']}"].data
        assert data.tags["autoprune.status"] == row["status"]
        if row["status"] == "unavailable":
            assert data.tags["autoprune.reason"] == row["reason"]
            assert "sealed_perplexity" not in data.metrics
            continue
        same = {
            "sealed_perplexity": "perplexity",
            "sealed_perplexity_deviation": "deviation",
            "selection_perplexity": "selection",
            "selection_perplexity_deviation": "selection_deviation",
            "zeros_total": "zeros",
            "seconds_prune": "prune_seconds",
            "paired_draws_total": "paired_draws",
        }
        assert {name: data.metrics[name] for name in same} == {n: row[k] for n, k in same.items()}
        assert data.metrics["sparsity_share"] == 0.5
    data = runs["random+mrp at 2:4"].data
    assert (data.params["metric"], data.params["solver"]) == ("random", "mrp")
    assert (data.params["target"], data.params["pattern"]) == ("2:4", "2:4")


def test_the_same_comparison_is_the_same_run_and_children_are_left_alone(
    compared: Compared, client: MlflowClient
) -> None:
    first = compared("wanda,ria")
    before = children(client, first["mlflow_run"])
    again = compared("wanda,ria")
    assert again["mlflow_run"] == first["mlflow_run"] and again["measured"] == 0
    after = children(client, again["mlflow_run"])
    assert {n: run.info.end_time for n, run in after.items()} == {
        n: run.info.end_time for n, run in before.items()
    }
    # Other settings are another comparison.
    more = compared("wanda,ria,magnitude")
    assert more["mlflow_run"] != first["mlflow_run"]
    assert len(children(client, more["mlflow_run"])) == 3


def test_a_long_comparison_shows_its_table_while_it_runs(
    compared: Compared, client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, out, seen = CompareBench.prune_by, tmp_path / "out", []

    def watching(*args: Any) -> Any:
        place = [e.experiment_id for e in client.search_experiments()]
        runs = client.search_runs(place, "tags.`autoprune.kind` = 'comparison'")
        table = out / "comparison.json"
        finished = json.loads(table.read_text())["finished"] if table.exists() else None
        seen.append((finished, [run.info.status for run in runs]))
        return real(*args)

    monkeypatch.setattr(running, "TABLE_SECONDS", 0.0)
    monkeypatch.setattr(CompareBench, "prune_by", watching)
    done = compared("wanda,ria", out=str(out))
    assert seen == [(number, ["RUNNING"]) for number in range(4)]
    run = client.get_run(done["mlflow_run"])
    assert run.info.status == "FINISHED" and run.data.metrics["cells_finished_total"] == 4


def test_without_mlflow_there_is_one_warning_and_nothing_is_lost(
    cli: CommandLine, client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setattr("flows.compare.run.TABLE_SECONDS", 0.0)
    line = f"{LINE} --methods wanda --sparsity 0.5 --draws 1 --out {tmp_path / 'out'}"
    # A fresh split stays that of the command until MLflow has its record.
    line += " --text-split fresh"
    shown = cli(line.replace(" -q", "")).err
    assert PAGE_VARIABLE not in os.environ, "left behind by the command"
    assert shown.count("MLflow has no record") == 1
    assert "no MLflow server answers at http://127.0.0.1:9" in shown
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(FILES)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    record = cli.record(line)
    assert record["measured"] == 0 and children(client, record["mlflow_run"])
