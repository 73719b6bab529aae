"""What Prefect shows of each command's run: artifacts, and what the command prints as its log."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from flows.evaluate import evaluate
from flows.evaluate.params import EvaluateParams
from flows.prune import prune
from flows.prune.params import PruneParams
from tasks.publish import Publisher
from tasks.state import State
from tasks.track import Tracker
from tests.support.command_line import CommandLine
from tests.support.small_comparison import Compared

Shown = dict[str, Any]


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Shown:
    """Artifacts by key, as a flow run would get them; the log takes what a worker's would."""
    found: Shown = {}

    def put(self: Publisher, what: str, data: Any, note: str) -> bool:
        found[self.key(what)] = data
        return True

    monkeypatch.setattr(Publisher, "_put", put)
    caplog.set_level(logging.INFO, "autoprune")
    return found


def facts(shown: Shown, key: str) -> dict[str, str]:
    return {row["what"]: row["value"] for row in json.loads(shown[key])}


@pytest.fixture
def sizes(cli: CommandLine) -> dict[str, Any]:
    places = {"model": str(cli.places["MODEL"]), "corpus": str(cli.places["TEXT"])}
    return places | {"calibration_windows": 4, "seqlen": 32}


def test_a_smaller_model_is_shown_with_what_is_left_and_how_to_measure_it(
    shown: Shown, sizes: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "out"
    asked = {"scheme": "depth", "sparsity": 0.4, "out": str(out)}
    record = prune.fn(PruneParams.model_validate(sizes | asked))
    table = facts(shown, "prune-figures-tiny")
    assert table["scheme"] == record["scheme"] and table["blocks removed"]
    assert f"{record['parameters']:,} of {record['parameters_before']:,}" in table["parameters"]
    assert table["calibration"].startswith("4 x 32 tokens")
    assert table["size"].startswith("Weights: ")
    assert table["size"] in (out / "README.md").read_text()
    page = shown["prune-report-tiny"]
    assert "parameters are left" in page and "--suite lm,cost --against" in page
    assert any(line.startswith("saved") and str(out) in line for line in caplog.messages)
    assert caplog.messages[-1].startswith("next") and "evaluate" in caplog.messages[-1]


def test_the_figures_of_a_preset_are_shown(
    shown: Shown, sizes: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = tmp_path / "twenty.txt"
    words = [f"{n} {' '.join(str(n * k % 97) for k in range(200))}" for n in range(20)]
    text.write_text("\n\n".join(words), encoding="utf-8")
    asked = {"quality": "fast", "sparsity": 0.5, "corpus": str(text)}
    found = prune.fn(PruneParams.model_validate(sizes | asked))["perplexity"]
    table = facts(shown, "prune-figures-tiny-s50")
    assert table["perplexity"].startswith(f"{found['pruned']:.2f} on {found['windows']} x 32")
    assert table["perplexity, dense"] == f"{found['dense']:.2f}"
    assert any(line.startswith("zeros") for line in caplog.messages)


def test_a_dry_run_shows_its_estimate(shown: Shown, sizes: dict[str, Any]) -> None:
    asked = {"dry_run": True, "metric": "wanda", "sparsity": 0.5}
    cost = prune.fn(PruneParams.model_validate(sizes | asked))["estimate"]
    table = facts(shown, "prune-figures-tiny-s50")
    assert table["memory"] == f"{cost['memory_mb']:,.0f} MB" and table["disk"] and table["time"]


def test_an_evaluation_ends_its_log_with_its_figures(
    shown: Shown, sizes: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    asked = {"model": sizes["model"], "corpus": sizes["corpus"], "windows": 3, "seqlen": 32}
    evaluate.fn(EvaluateParams.model_validate(asked))
    assert "evaluate-report-tiny" in shown
    assert any(line.startswith("perplexity") for line in caplog.messages)
    assert caplog.messages[-1].startswith("next  autoprune evaluate")


def test_a_pruned_folder_is_recorded_with_the_model_that_it_was_made_from(
    shown: Shown, sizes: dict[str, Any], pruned: Path
) -> None:
    winner = pruned.rename(pruned.with_name("winner"))
    asked = {"model": str(winner), "corpus": sizes["corpus"], "windows": 3, "seqlen": 32}
    record = evaluate.fn(EvaluateParams.model_validate(asked))
    assert "evaluate-report-tiny" in shown
    client = Tracker(State.open()).client
    run = client.get_run(record["mlflow_run"])
    assert client.get_experiment(run.info.experiment_id).name == "autoprune/tiny"
    assert run.data.tags["model"] == str(winner)
    assert run.data.tags["model.base"] == sizes["model"]


def test_a_comparison_shows_table_advice_and_picture(
    shown: Shown, compared: Compared, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    result = compared("magnitude", draws=1)
    rows = json.loads(shown["compare-figures-tiny"])
    assert [row["method"] for row in rows] == ["dense", "magnitude"] and rows[1]["50 %"]
    page = shown["compare-report-tiny"]
    assert "data:image/png;base64" in page and "Files: `" in page and str(home) not in page
    assert shown["compare-mlflow-tiny"] in page and result["mlflow_run"] in page
    assert any(line.startswith("sealed perplexity") for line in caplog.messages)
