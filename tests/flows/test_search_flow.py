"""Whole searches on a tiny model: record, checkpoint, MLflow, resume, sandbox."""

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import mlflow
import pandas
import pytest
from safetensors.torch import load_file

from autoprune.errors import UsageError
from autoprune.progress import silent
from autoprune.search.spec import SearchSpec
from autoprune.text.corpora import load_corpus
from flows.search import search
from flows.search.leaderboard import closing_text
from flows.search.params import SearchParams
from flows.text_split import settled
from sandbox.outcomes import Accepted, Rejected
from tasks import mirror, steps
from tasks.mirror import tracker_of
from tasks.provenance import code_commit
from tasks.run_files import RunFiles, read_object
from tasks.sealed_looks import record_look
from tasks.search_bench import SearchBench
from tasks.state import State
from tests.support.command_line import CommandLine
from tests.support.sketched import sketch
from tests.support.small_search import ANSWERS, FEW, LINE, SIZES, graph, script

Make = Callable[..., SearchParams]

PROGRAMS = [
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
        fields: dict[str, Any] = SIZES | {
            "model": str(tiny_folder), "corpus": str(text_file), "designer": "random",
            "sandbox": "off", "candidates": 4, "slots": 2, "run": "tiny",
        }  # fmt: skip
        return SearchParams(**(fields | changes))

    return params


def children(run: str) -> dict[str, Any]:
    tracker = tracker_of(State.open())
    client = tracker.client
    experiments = [e.experiment_id for e in client.search_experiments()]
    query = f"tags.`autoprune.run` = '{run}'"
    (parent,) = client.search_runs(experiments, query)
    found = client.search_runs(
        experiments, f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'", max_results=1000
    )
    assert len(found) == len({child.data.tags["autoprune.entry"] for child in found})
    return {child.data.tags["autoprune.entry"]: child for child in found} | {"": parent}


@pytest.mark.pictures
def test_a_search_ends_with_everything_in_place(
    make: Make, text_file: Path, cli: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Somebody has read the whole text before; the report says so.
    record_look(State.open(), load_corpus(str(text_file)).digest, "an evaluation")
    wish = make(text_split="fresh")
    assert settled(wish, wish.model, wish.corpus) == make()
    record = search.fn(make())
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
    assert {path.suffix for path in files.plots.iterdir()} == {".png", ".svg"}
    facts = files.read_facts()
    assert facts["commit"] == code_commit() and facts["command"].startswith("autoprune search ")
    assert "This run" in files.page.read_text()
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

    # The same command does nothing twice. What is drawn from here on nobody looks at.
    sketch(monkeypatch)
    before = {name: child.info.run_id for name, child in children("tiny").items()}
    again = search.fn(make())
    assert again["leaderboard"] == record["leaderboard"]
    assert again["registered"] == record["registered"]
    assert {name: child.info.run_id for name, child in children("tiny").items()} == before
    reports_are_not_written_over(cli, files, tmp_path / "page.html")


def everything_is_in_mlflow(record: dict[str, Any]) -> None:
    """Parent, candidates, the registered model that loads and answers."""
    found = children("tiny")
    parent = found.pop("")
    shown = parent.data.tags["mlflow.note.content"]
    assert "4 recipes beside the starts were made" in shown and record["best"] in shown
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


def reports_are_not_written_over(cli: CommandLine, files: RunFiles, page: Path) -> None:
    """A page of a report replaces no file unless asked to, and none of the run ever."""
    cli(f"report tiny --out {page}")
    page.write_text("years of work")
    cli.refuses(f"report tiny --out {page}", "--overwrite")
    assert page.read_text() == "years of work"
    cli(f"report tiny --out {page} --overwrite")
    assert page.read_text().startswith("<!")
    before = files.log.stat().st_size
    cli.refuses(f"report tiny --out {files.log} --overwrite", "lies in the source")
    assert files.log.stat().st_size == before
    cli("report tiny")


def test_an_interrupted_search_ends_like_an_uninterrupted_one(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = partial(make, register_winner=False)
    whole = search.fn(make(run="whole"))
    measure = steps.WORK["measure"]
    # At the first measurement, and at the seventh where it goes on.
    for after in (1, 7):
        done: list[Any] = []

        def interrupted(*args: Any, done: list[Any] = done, after: int = after) -> Any:
            done.append(args)
            if len(done) == after:
                raise KeyboardInterrupt
            return measure(*args)

        monkeypatch.setitem(steps.WORK, "measure", interrupted)
        with pytest.raises(KeyboardInterrupt):
            search.fn(make(run="cut"))
        assert children("cut")[""].info.status == "KILLED"
    monkeypatch.setitem(steps.WORK, "measure", measure)
    cut = search.fn(make(run="cut"))
    assert cut["leaderboard"] == whole["leaderboard"]
    assert children("cut").keys() == children("whole").keys()
    assert children("cut")[""].info.status == "FINISHED"
    assert graph("cut") == graph("whole")


def test_a_tiny_time_budget_measures_the_reference_and_nothing_else(make: Make) -> None:
    record = search.fn(make(minutes=1e-6, candidates=8, slots=2, register_winner=False))
    assert record["ended"] == "the time budget was used up" and not record["passed"]
    measured = [row["candidate"] for row in record["leaderboard"] if row["perplexity"] is not None]
    assert measured == ["wanda"]
    assert all(not row["candidate"].startswith("C") for row in record["leaderboard"])


def test_other_settings_in_the_same_run_are_refused(make: Make) -> None:
    make = partial(make, pattern="2:4", repairs="none")
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
    assert {child.data.tags["autoprune.status"] for name, child in children("empty").items()
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
    assert set(children("blind")) == everything
    # Another store has none of it until the same command runs again.
    other = f"sqlite:///{shutil.copy(empty_store, tmp_path / 'team.db')}"
    for place in (other, ""):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", place)
        monkeypatch.setattr(mirror, "_trackers", {})
        moved = search.fn(make(run="blind"))
        assert set(children("blind")) == everything
        kept = moved["registered"]
        version = tracker_of(state).client.get_model_version(kept["name"], kept["version"])
        assert version.run_id == children("blind")[""].info.run_id
    # A version that is gone is no version to promote.
    tracker_of(state).client.delete_registered_model(kept["name"])
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
def test_the_probe_of_a_search_offers_what_its_layers_carry(home: Path) -> None:
    spec = SearchSpec(model="m", corpus="c")
    bench = SearchBench("m", State.open(home), 0, silent, spec=spec, run_id="probe")
    code = 'def score(W, stats, params):\n    return W.abs() * stats["hessian_diag"]\n'
    try:
        assert bench.sandbox is not None
        refused = bench.sandbox.probe(code)
        assert isinstance(refused, Rejected)
        assert "no 'hessian_diag'; it has x_max, x_mean, x_norm, x_var" in refused.detail
        assert isinstance(bench.sandbox.probe(code.replace("hessian_diag", "x_var")), Accepted)
    finally:
        bench.close()


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
