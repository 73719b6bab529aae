"""A candidate that was thrown away, made again bit by bit from its MLflow run alone."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from autoprune.errors import AutopruneError, UsageError
from autoprune.models.saved_type import matrix_types
from flows.search import search
from tasks.register_folder import register_folder
from tasks.reproduce import reproduce
from tasks.state import State
from tasks.track import Tracker
from tasks.track.runs import MASK_RECORD_FILE, MASKS_TAG, local_path
from tests.support.command_line import CommandLine
from tests.support.own_state import module_state, use_state
from tests.support.small_search import ANSWERS, script, small


@pytest.fixture(scope="module")
def searched(
    tiny_folder: Path, text_file: Path, empty_store: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """State folder of a small search whose own files are gone."""
    folder = tmp_path_factory.mktemp("searched")
    with module_state(folder, empty_store):
        # In half precision, as most published models are.
        half = shutil.copytree(tiny_folder, folder / "half")
        AutoModelForCausalLM.from_pretrained(half, dtype=torch.bfloat16).save_pretrained(half)
        # Beside what looks like a saved model.
        (folder / "words").mkdir()
        (folder / "words" / "config.json").write_text("{}")
        _search(half, Path(shutil.copy(text_file, folder / "words")), folder)
    return folder


@pytest.fixture
def home(searched: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """That folder; whoever changes it changes it back."""
    use_state(searched, monkeypatch)
    return searched


def _search(tiny_folder: Path, text_file: Path, folder: Path) -> None:
    answers = {"designer": "scripted", "script": script(folder, ANSWERS)}
    search.fn(small(tiny_folder, text_file, **answers, candidates=3, slots=3, seed=3, run="gone"))
    state = State.open()
    for lost in (state.runs, state.store, state.inputs):
        shutil.rmtree(lost, ignore_errors=True)


@pytest.fixture
def runs(home: Path) -> dict[str, Any]:
    """MLflow runs by candidate."""
    client = Tracker(State.open(home)).client
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
        done = reproduce(State.open(home), run.info.run_id, str(tmp_path / name))
        assert done["mask_digest"] == run.data.tags[MASKS_TAG]
        assert matrix_types(tmp_path / name) == {"BF16"}
    parent = runs["wanda"].data.tags["mlflow.parentRunId"]
    with pytest.raises(UsageError, match="holds no reproduce"):
        reproduce(State.open(home), parent)


def test_the_command_says_match_and_saves(
    runs: dict[str, Any], cli: CommandLine, home: Path, tmp_path: Path
) -> None:
    again = "reproduce gone C1 --out"
    out, tags = tmp_path / "again", runs["C1"].data.tags
    record = cli(f"{again} {out} --json").record
    assert record["match"] and record["mask_digest"] == tags[MASKS_TAG]
    assert record["mlflow_run"] == runs["C1"].info.run_id
    saved = out / "autoprune.json"
    kept_record = json.loads(saved.read_text())
    assert kept_record["mask_digest"] == tags[MASKS_TAG]
    # What other commands read of a folder: its source, its share, its card.
    assert kept_record["model"] == kept_record["spec"]["model"]
    assert kept_record["seed"] == kept_record["spec"]["seed"]
    assert kept_record["target"] == kept_record["spec"]["sparsity"]
    assert "recounted in the saved files" in " ".join((out / "README.md").read_text().split())
    registered = register_folder(State.open(home), str(out), None)
    assert registered.version == "2"
    assert matrix_types(out) == {"BF16"}
    cli(f"{again} {tmp_path / 'wide'} --dtype float32 -q")
    assert matrix_types(tmp_path / "wide") == {"F32"}
    kept = saved.stat().st_mtime_ns
    cli.refuses(f"{again} {out}", "--overwrite")
    assert saved.stat().st_mtime_ns == kept
    cli(f"{again} {out} --overwrite -q")
    assert saved.stat().st_mtime_ns > kept
    source = json.loads(saved.read_text())["spec"]["model"]
    cli.refuses(f"{again} {source}/again --overwrite", "lies in the source")
    text = json.loads(saved.read_text())["spec"]["corpus"]
    cli.refuses(f"{again} {Path(text).parent} --overwrite", f"holds the source {text}")
    shown = cli("reproduce gone C1")
    assert shown.out.startswith("match") and "Downloading" not in shown.err
    cli.refuses("reproduce goner C1", "did you mean gone")
    cli.refuses("reproduce gone C9", "unknown measured candidate of gone 'C9'")
    cli.refuses(f"{again} {tmp_path}", "holds no saved model")


def test_another_recipe_is_found_out(runs: dict[str, Any], home: Path, cli: CommandLine) -> None:
    run = runs["wanda"]
    folder = local_path(run.info.artifact_uri)
    assert folder is not None
    written = (folder / MASK_RECORD_FILE).read_text()
    mask_record = json.loads(written)
    mask_record["recipe"]["metric"]["source"] = "magnitude"
    (folder / MASK_RECORD_FILE).write_text(json.dumps(mask_record))
    try:
        with pytest.raises(AutopruneError, match="the masks of"):
            reproduce(State.open(home), run.info.run_id)
        record = cli("reproduce gone wanda --json", code=1).record
    finally:
        (folder / MASK_RECORD_FILE).write_text(written)
    assert not record["match"] and record["found"] != record["mask_digest"]


def test_questions_are_traced_and_counted(runs: dict[str, Any], home: Path) -> None:
    client = Tracker(State.open(home)).client
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
