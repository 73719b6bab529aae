"""One whole search on a tiny model: all that it leaves, and the same after interruptions."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pandas
import pytest
from safetensors.torch import load_file

from autoprune.storage import read_object
from autoprune.text.corpora import load_corpus
from flows.search import driver, search
from flows.search.leaderboard import closing_text
from flows.search.params import SearchParams
from flows.text_split import settled
from tasks.provenance import code_commit
from tasks.run_files import RunFiles
from tasks.sealed_looks import record_look
from tasks.state import State
from tests.support.mlflow_runs import mirrored
from tests.support.own_state import module_state, use_state
from tests.support.small_search import graph, interrupt, small


@pytest.fixture(scope="module")
def params(
    tiny_folder: Path, text_file: Path, empty_store: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SearchParams]:
    """Of a search of seconds, in a state folder of this module."""
    with module_state(tmp_path_factory.mktemp("whole"), empty_store):
        yield small(tiny_folder, text_file, candidates=4, slots=2, run="tiny")


@pytest.fixture(scope="module")
def record(params: SearchParams, text_file: Path) -> dict[str, Any]:
    """The record of that search, which nothing interrupted, with its pictures."""
    # Somebody has read the whole text before; the report says so.
    record_look(State.open(), load_corpus(str(text_file)).digest, "an evaluation")
    wish = params.model_copy(update={"text_split": "fresh"})
    assert settled(wish, wish.model, wish.corpus) == params
    return search.fn(params)


@pytest.fixture
def home(record: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Path:
    """That folder."""
    found = State.open().root
    use_state(found, monkeypatch)
    return found


def test_a_search_ends_with_everything_in_place(
    record: dict[str, Any], params: SearchParams
) -> None:
    # As after `autoprune resume`: what `fresh` kept for the run is kept no longer.
    assert not list((State.open().root / "fresh").iterdir())
    files = RunFiles.of(State.open(), "tiny")
    uses = {split["name"]: split["uses"] for split in read_object(files.report)["splits"]}
    assert uses == {"calibration": None, "selection": None, "sealed": 2}
    assert record["passed"]
    (winner,) = [row for row in record["leaderboard"] if row["verdict"] == "winner"]
    assert winner["candidate"] == record["best"]
    page = files.page.read_text()
    assert page.startswith("<!") and record["best"] in page
    assert {path.suffix for path in files.plots.iterdir()} == {".png"}
    facts = files.read_facts()
    assert facts["commit"] == code_commit() and facts["command"].startswith("autoprune search ")
    assert "How it ran" in files.page.read_text()
    assert record["estimate"]["window"] > 0 and record["estimate"]["limit"] == "candidates"
    assert record["spent"]["candidates"] == 4 and record["spent"]["seconds"] > 0
    # What is sealed was pruned once more.
    usual = {"dense", "wanda", "magnitude", "random"}
    assert {c["name"] for c in record["checks"]} == usual | {record["best"]}
    assert any(margin["versus"] == "wanda" for margin in record["margins"])
    assert "detect drift: dense" in closing_text(record)
    assert record["sealed_set"]["earlier"] == 1
    assert "sealed set 0, 1 earlier look (1 at the whole text)" in closing_text(record)
    assert "no choice was made on" not in page

    names = {row["candidate"] for row in record["leaderboard"]}
    assert {"magnitude", "wanda", "ria", "wanda+sdsa", "C1", "C4"} <= names
    sealed = [row for row in record["leaderboard"] if row["sealed_perplexity"] is not None]
    assert {"wanda", record["best"]} <= {row["candidate"] for row in sealed}
    measured = [row["sparsity"] for row in record["leaderboard"] if row["sparsity"]]
    assert measured and all(share == pytest.approx(0.6, abs=1e-4) for share in measured)

    weights = load_file(files.winner / "model.safetensors")
    linears = [w for name, w in weights.items() if ".layers." in name and w.ndim == 2]
    assert sum(int((weight == 0).sum()) for weight in linears) == record["zeros"]
    everything_is_in_mlflow(record)

    # The same command does nothing twice.
    before = {name: child.info.run_id for name, child in mirrored("tiny").items()}
    again = search.fn(params)
    assert again["leaderboard"] == record["leaderboard"]
    assert again["registered"] == record["registered"]
    assert {name: child.info.run_id for name, child in mirrored("tiny").items()} == before


def everything_is_in_mlflow(record: dict[str, Any]) -> None:
    """Parent, candidates, the registered model that loads and answers."""
    found = mirrored("tiny")
    parent = found.pop("")
    shown = parent.data.tags["mlflow.note.content"]
    assert "4 recipes other than the starts were made" in shown and record["best"] in shown
    assert f"{record['best']}: " in shown and "no language model was asked" in shown
    assert parent.data.tags["sealed.number"] == "0" and parent.data.tags["sealed.earlier"] == "1"
    assert set(found) == {row["candidate"] for row in record["leaderboard"]}
    assert parent.info.status == "FINISHED"
    assert parent.data.metrics["candidates_total"] == 4
    for row in record["leaderboard"]:
        child = found[row["candidate"]]
        assert child.data.tags["autoprune.source"]
        if row["perplexity"] is not None:
            assert child.data.metrics["perplexity"] == row["perplexity"]
    registered = record["registered"]
    assert registered["name"] == "autoprune.tiny.s60"
    mlflow.set_tracking_uri(record["tracking_uri"])
    model = mlflow.pyfunc.load_model(registered["uri"])
    answers = model.predict(pandas.DataFrame({"text": ["abc def", "x"]}))
    assert list(answers["text"]) == ["abc def", "x"]
    assert all(isinstance(text, str) for text in answers["continuation"])
    assert answers["nll"][0] > 0


def test_an_interrupted_search_ends_like_an_uninterrupted_one(
    record: dict[str, Any], params: SearchParams, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = params.model_copy(update={"run": "cut", "register_winner": False})
    # Time enough to write what is written last, where others are at work too.
    monkeypatch.setattr(driver, "STOP_SECONDS", 60.0)
    # At the first measurement, and at the seventh where it goes on.
    for number in (1, 7):
        interrupt(monkeypatch, number)
        with pytest.raises(KeyboardInterrupt):
            search.fn(cut)
        assert mirrored("cut")[""].info.status == "KILLED"
    assert search.fn(cut)["leaderboard"] == record["leaderboard"]
    assert mirrored("cut").keys() == mirrored("tiny").keys()
    assert mirrored("cut")[""].info.status == "FINISHED"
    assert graph("cut") == graph("tiny")
