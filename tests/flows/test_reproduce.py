"""A candidate that was thrown away, made again bit by bit from its MLflow run alone."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from autoprune.errors import AutopruneError, UsageError
from flows.cli import main
from flows.params import SearchParams
from flows.search import search
from tasks.mirror import tracker_of
from tasks.reproduce import reproduce
from tasks.state import State
from tasks.track.runs import MASKS_TAG, SHEET_FILE, local_path

ANSWERS = [
    "because: roots\nexpect: better than wanda\nmetric: abs(W) * x_norm ** {a:0.5}\ngroup: row\n"
    "allocation: ramp\n",
    "because: squares\nexpect: worse than wanda\nmetric: sq(W) * x_max\ngroup: matrix\n"
    "allocation: uniform\n",
    "because: this answer holds no metric",
]


@pytest.fixture(scope="module")
def searched(
    tiny_folder: Path,
    text_file: Path,
    empty_store: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """State folder of a small search whose own files are gone."""
    folder = tmp_path_factory.mktemp("searched")
    with pytest.MonkeyPatch.context() as patch:
        in_folder(folder, patch)
        shutil.copy(empty_store, folder / empty_store.name)
        _search(tiny_folder, text_file, folder / "answers.jsonl")
    return folder


def in_folder(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Have commands of this process use a state folder, unrecorded by Prefect."""
    patch.setenv("AUTOPRUNE_HOME", str(folder))
    patch.setenv("AUTOPRUNE_PREFECT", "off")
    for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY", "MLFLOW_TRACKING_URI", "PREFECT_API_URL"):
        patch.delenv(name, raising=False)


@pytest.fixture
def home(searched: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """That folder; whoever changes it changes it back."""
    in_folder(searched, monkeypatch)
    return searched


def _search(tiny_folder: Path, text_file: Path, script: Path) -> None:
    script.write_text("".join(json.dumps(answer) + "\n" for answer in ANSWERS))
    search.fn(
        SearchParams(
            model=str(tiny_folder),
            corpus=str(text_file),
            designer="scripted",
            script=str(script),
            sandbox="off",
            calibration_windows=4,
            seqlen=48,
            rung_windows=2,
            selection_windows=4,
            sealed_windows=3,
            candidates=3,
            slots=3,
            run="gone",
            seed=3,
        )
    )
    state = State.open()
    for lost in (state.runs, state.store, state.inputs):
        shutil.rmtree(lost, ignore_errors=True)


@pytest.fixture
def runs(home: Path) -> dict[str, Any]:
    """MLflow runs by candidate."""
    client = tracker_of(State.open(home)).client
    experiments = [found.experiment_id for found in client.search_experiments()]
    found = client.search_runs(experiments, "tags.`autoprune.entry` LIKE '%'")
    return {run.data.tags["autoprune.entry"]: run for run in found}


def test_masks_come_back_bit_by_bit(runs: dict[str, Any], home: Path, tmp_path: Path) -> None:
    measured = {name: run for name, run in runs.items() if MASKS_TAG in run.data.tags}
    losers = [name for name in measured if measured[name].data.tags["autoprune.status"] != "winner"]
    assert any(name.startswith("C") for name in losers)
    weights = [path.parent for path in State.open(home).artifacts.rglob("*.safetensors")]
    assert len(weights) == 1, "full weights only for the front, which is the winner here"
    (card,) = State.open(home).artifacts.rglob("README.md")
    assert "## Licence of the base model" in card.read_text()
    for name in losers:
        run = measured[name]
        done = reproduce(str(home), run.info.run_id, str(tmp_path / name))
        assert done["mask_digest"] == run.data.tags[MASKS_TAG]
        assert (tmp_path / name / "model.safetensors").is_file()
    parent = runs["wanda"].data.tags["mlflow.parentRunId"]
    with pytest.raises(UsageError, match="holds no reproduce"):
        reproduce(str(home), parent)


def test_the_command_says_match_and_saves(
    runs: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "again"
    capsys.readouterr()
    assert main(["reproduce", "gone", "C1", "--out", str(out), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    tags = runs["C1"].data.tags
    assert record["match"] and record["mask_digest"] == tags[MASKS_TAG]
    assert record["mlflow_run"] == runs["C1"].info.run_id
    assert json.loads((out / "autoprune.json").read_text())["mask_digest"] == tags[MASKS_TAG]
    kept = (out / "autoprune.json").stat().st_mtime_ns
    assert main(["reproduce", "gone", "C1", "--out", str(out)]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert (out / "autoprune.json").stat().st_mtime_ns == kept
    assert main(["reproduce", "gone", "C1", "--out", str(out), "--overwrite", "-q"]) == 0
    assert (out / "autoprune.json").stat().st_mtime_ns > kept
    source = json.loads((out / "autoprune.json").read_text())["spec"]["model"]
    words = ["reproduce", "gone", "C1", "--out", f"{source}/again", "--overwrite"]
    assert main(words) == 2 and "lies in the source" in capsys.readouterr().err
    assert main(["reproduce", "gone", "C1"]) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("match") and "Downloading" not in shown.err
    assert main(["reproduce", "goner", "C1"]) == 2
    assert "did you mean gone" in capsys.readouterr().err
    assert main(["reproduce", "gone", "C9"]) == 2
    assert "unknown measured candidate of gone 'C9'" in capsys.readouterr().err
    assert main(["reproduce", "gone", "C1", "--out", str(tmp_path)]) == 2
    assert "holds no saved model" in capsys.readouterr().err


def test_another_recipe_is_found_out(
    runs: dict[str, Any], home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = runs["wanda"]
    folder = local_path(run.info.artifact_uri)
    assert folder is not None
    written = (folder / SHEET_FILE).read_text()
    sheet = json.loads(written)
    sheet["recipe"]["metric"]["source"] = "magnitude"
    (folder / SHEET_FILE).write_text(json.dumps(sheet))
    try:
        with pytest.raises(AutopruneError, match="the masks of"):
            reproduce(str(home), run.info.run_id)
        capsys.readouterr()
        assert main(["reproduce", "gone", "wanda", "--json"]) == 1
    finally:
        (folder / SHEET_FILE).write_text(written)
    record = json.loads(capsys.readouterr().out)
    assert not record["match"] and record["found"] != record["mask_digest"]


def test_questions_are_traced_and_counted(runs: dict[str, Any], home: Path) -> None:
    client = tracker_of(State.open(home)).client
    place = [runs["wanda"].info.experiment_id]
    parent = client.get_run(runs["wanda"].data.tags["mlflow.parentRunId"])
    traces = client.search_traces(locations=place)
    assert parent.data.metrics["designer_calls"] == len(traces) > 0
    # Candidates without a designer have none.
    written = {trace.info.tags["autoprune.candidate"] for trace in traces} & runs.keys()
    assert written
    for name, run in runs.items():
        linked = client.search_traces(locations=place, run_id=run.info.run_id)
        found = {trace.info.tags["autoprune.candidate"] for trace in linked}
        assert found == ({name} if name in written else set())
