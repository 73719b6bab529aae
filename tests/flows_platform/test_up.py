"""``autoprune up`` for real: reuse, a taken port, the form's checks, a killed worker, resume."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from mlflow import MlflowClient
from prefect.client.schemas.actions import WorkPoolUpdate
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterName,
    LogFilter,
    LogFilterFlowRunId,
)
from prefect.workers.process import ProcessWorker

from autoprune.search.search import Search
from flows.cli import main
from flows.doctor.health import platform_findings
from flows.platform.pools import COMMAND, POOL, prepare_pool
from flows.platform.processes import register_of
from flows.platform.services import mlflow_answers, prefect_answers
from flows.up.provisioning import LIMITS, ZOMBIE_RULE, delete_gone
from tasks.state import State
from tests.support.platform_live import AUTOPRUNE, MARKER, Live
from tests.support.prefect_stack import RARELY
from tests.support.small_search import SIZES

WAIT_SECONDS = 180.0


def deployment(live: Live, name: str) -> Any:
    with live.client() as client:
        return client.read_deployment_by_name(name)


def state_of(live: Live, number: Any) -> Any:
    with live.client() as client:
        return client.read_flow_run(number).state


def test_everything_is_made_and_deployed(live: Live) -> None:
    assert prefect_answers(live.api, live.login) and mlflow_answers(live.tracking, live.login)
    with live.client() as client:
        for name, limit in LIMITS.items():
            assert client.read_global_concurrency_limit_by_name(name).limit == limit
        (rule,) = client.read_automations_by_name(ZOMBIE_RULE)
        assert rule.enabled
        pool = client.read_work_pool(POOL)
        # The folder of the worker, on whatever machine: no machine's path.
        job = pool.base_job_template["job_configuration"]
        assert job["working_dir"] == "." and job["command"] == COMMAND
        names = {each.name for each in client.read_deployments(limit=50)}
    assert {"nightly", "manual"} <= names
    (schedule,) = deployment(live, "nightly/nightly").schedules
    # Nobody asked for nights.
    assert not schedule.active and schedule.schedule.timezone == "Europe/Berlin"


def test_deployments_of_an_earlier_version_are_deleted_and_others_stay(live: Live) -> None:
    with live.client() as client:
        kept = {each.id for each in client.read_deployments(limit=200)}
        study = client.create_flow_from_name("study")
        made = {"work_pool_name": POOL, "tags": ["autoprune"]}
        old = client.create_deployment(study, "manual", **made)
        # A user's own stands in the same pool without our tag.
        own = client.create_deployment(study, "mine", work_pool_name=POOL)
        # And what the UI's Duplicate makes of one of ours has it.
        nightly = client.read_deployment_by_name("nightly/nightly").flow_id
        copy = client.create_deployment(nightly, "my-llama", **made)
    try:
        assert delete_gone(live.api, login=live.login) == ["study/manual"]
        assert delete_gone(live.api, login=live.login) == []
        with live.client() as client:
            left = {each.id for each in client.read_deployments(limit=200)}
        assert left == kept | {own, copy} and old not in left
    finally:
        with live.client() as client:
            client.delete_deployment(own)
            client.delete_deployment(copy)
            client.delete_flow(study)


@pytest.mark.parametrize(
    ("before", "after"),
    [(None, COMMAND), ("python3 -m prefect.engine", COMMAND), ("nice prefect", "nice prefect")],
)
def test_a_pool_of_an_earlier_version_is_closed_and_a_users_own_command_stays(
    live: Live, before: str | None, after: str
) -> None:
    with live.client() as client:
        fresh = client.read_work_pool(POOL).base_job_template
        template = ProcessWorker.get_default_base_job_template()
        template["variables"]["properties"]["command"]["default"] = before
        template["variables"]["properties"]["working_dir"]["default"] = "."
        client.update_work_pool(POOL, WorkPoolUpdate(base_job_template=template))
        try:
            assert "no longer a run's to choose" in prepare_pool(client, POOL)
            assert not prepare_pool(client, POOL)
            found = client.read_work_pool(POOL).base_job_template
            assert found["job_configuration"]["command"] == after
            assert not {"command", "env", "working_dir"} & set(found["variables"]["properties"])
        finally:
            client.update_work_pool(POOL, WorkPoolUpdate(base_job_template=fresh))


def test_a_second_up_reuses_everything(
    live: Live, again: "subprocess.CompletedProcess[str]"
) -> None:
    assert "--runs 7 has no effect on what runs already, it stays 4" in again.stderr
    assert "-port" not in again.stderr
    assert "starting" not in again.stderr and "runs already" in again.stderr
    assert f"http://127.0.0.1:{live.prefect}" in again.stdout


def worker_of(folder: Path) -> str:
    """What `autoprune doctor` says about the worker of a project."""
    found = {each.name: each for each in platform_findings(State(folder / "state"))}
    assert found["worker"].ok, found["worker"]
    return found["worker"].detail.partition(" ")[2]


def test_a_second_project_shares_the_server(
    live: Live, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = dataclasses.replace(live, folder=tmp_path)
    (tmp_path / "state").mkdir()
    servers = live.logins()
    first = deployment(live, "search/manual")
    try:
        done = second.autoprune("up", "--pool", "second", "--detach", **servers)
        assert done.returncode == 0, done.stderr
        assert "made: work pool second" in done.stderr and "search/manual-second" in done.stdout
        again = deployment(live, "search/manual")
        assert (again.id, again.work_pool_name) == (first.id, POOL)
        assert deployment(live, "search/manual-second").work_pool_name == "second"
        monkeypatch.delenv("AUTOPRUNE_POOL", raising=False)
        for name, value in servers.items():
            monkeypatch.setenv(name, value)
        assert worker_of(tmp_path) == "takes runs of pool 'second'"
        assert worker_of(live.folder) == "takes runs of pool 'autoprune'"

        shutil.copytree(tiny_folder, tmp_path / "only-here")
        here = {"model": "./only-here", "corpus": "./only-here/text.txt", "calibration_windows": 2}
        pruning = deployment(live, "prune/manual-second")
        with live.client() as client:
            run = client.create_flow_run_from_deployment(
                pruning.id,
                parameters={"params": here | {"seqlen": 32, "metric": "wanda", "sparsity": 0.5}},
            )
        _until(lambda: state_of(live, run.id).is_final(), RARELY)
        assert state_of(live, run.id).is_completed(), state_of(live, run.id).message
    finally:
        second.autoprune("down", **servers)
    assert worker_of(live.folder) == "takes runs of pool 'autoprune'"


def test_a_taken_port_is_named_with_who_has_it(live: Live, tmp_path: Path) -> None:
    done = live.up(AUTOPRUNE_HOME=str(tmp_path / "other"))
    assert done.returncode == 2
    assert f"port {live.prefect} is taken by another Prefect server" in done.stderr
    assert "--prefect-port" in done.stderr and f"PREFECT_API_URL={live.api}" in done.stderr
    assert not (tmp_path / "other/platform/services.json").exists()


@pytest.mark.parametrize(
    "fields", [{"sparsity": 1.5}, {"designer": "nobody"}, {"candidates": -1}, {"colour": "red"}]
)
def test_wrong_form_values_are_refused_before_a_run_exists(
    live: Live, fields: dict[str, Any]
) -> None:
    from prefect.exceptions import PrefectHTTPStatusError

    search = deployment(live, "search/manual")
    with live.client() as client:
        with pytest.raises(PrefectHTTPStatusError) as refused:
            client.create_flow_run_from_deployment(search.id, parameters={"params": fields})
        assert refused.value.response.status_code in (409, 422)
        assert str(next(iter(fields.values()))) in refused.value.response.text or (
            next(iter(fields)) in refused.value.response.text
        )


def log_of(live: Live, name: str) -> list[tuple[str, str]]:
    """Logger and message of all lines on the pages of the flow runs of this name."""
    with live.client() as client:
        asked = FlowRunFilter(name=FlowRunFilterName(any_=[name]))
        runs = [run.id for run in client.read_flow_runs(flow_run_filter=asked)]
        lines = client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=runs)))
    return [(line.name, line.message) for line in lines]


def tiny_search(folder: Path, **changes: Any) -> dict[str, Any]:
    """Fields of a search of seconds."""
    return {
        "model": str(folder),
        "corpus": str(folder / "text.txt"),
        "designer": "genetic",
        "sandbox": "off",
        **SIZES,
        "candidates": 6,
        "slots": 3,
    } | changes


def as_words(fields: dict[str, Any]) -> list[str]:
    return [f"--{name.replace('_', '-')}={value}" for name, value in fields.items()]


def store_of(live: Live, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    """MLflow's client, logged in."""
    for name, value in live.logins().items():
        if name.startswith("MLFLOW"):
            monkeypatch.setenv(name, value)
    return MlflowClient(live.tracking, registry_uri=live.tracking)


def test_two_nights_a_killed_worker_and_the_same_graph_in_the_end(
    live: Live, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A text whose documents follow each other has one sealed set, too few for two nights.
    texts = (tiny_folder / "text.txt").read_text(encoding="utf-8").split("\n\n")
    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    (live.folder / "nights.jsonl").write_text(lines)
    # A relative path is found because a run starts in the folder of its worker. Seed and split are
    # named, or the night's date would choose them and the second search below have others.
    fields = tiny_search(tiny_folder, corpus="./nights.jsonl", seed=1, text_split=1)
    params = {
        "search": fields | {"run": "cut"},
        "measured_windows": 4,
        "promote": {"measured_windows": 3},
    }
    nightly = deployment(live, "nightly/nightly")
    with live.client() as client:
        runs = [
            client.create_flow_run_from_deployment(nightly.id, parameters={"params": params}).id
            for _ in range(2)
        ]
    # The second night is cancelled while the first one works.
    state = live.state
    log = state.run("cut") / "search.db"
    _until(lambda: _outcomes(log) >= 6)
    first, second = sorted(runs, key=lambda run: str(state_of(live, run).name), reverse=True)
    assert state_of(live, first).is_running()
    assert state_of(live, second).is_cancelled()
    assert "concurrency limit" in str(state_of(live, second).message)

    worker = register_of(state).read()["worker"].process()
    assert worker is not None
    family = [worker, *worker.children(recursive=True)]
    for member in family:
        os.kill(member.pid, signal.SIGKILL)
    psutil.wait_procs(family, timeout=60)
    done_before = _outcomes(log)
    assert done_before >= 6 and state_of(live, first).is_running()

    # `up` starts the worker again; resume marks stale runs and gives that very night back to it.
    _until(lambda: register_of(state).read().get("worker") is not None)
    done = live.autoprune("resume", "cut", "--submit")
    assert done.returncode == 0, done.stderr
    assert "marked as crashed" in done.stderr and str(first) in done.stdout
    _until(lambda: state_of(live, first).is_completed(), RARELY)
    with live.client() as client:
        names = [each.name for each in client.read_flow_run_states(first)]
        asked = FlowRunFilter(name=FlowRunFilterName(any_=["search-cut"]))
        tasks = client.read_task_runs(flow_run_filter=asked, limit=200)
    assert "Crashed" in names and names[-1] == "Completed"
    # What the kill interrupted does not look at work for ever.
    assert tasks and not [each.name for each in tasks if each.state and each.state.is_running()]
    store = store_of(live, monkeypatch)
    assert store.get_registered_model("autoprune.tiny.s60").aliases["champion"] == "1"
    # The page of the run has what the command prints, and not a line for every task.
    _until(
        lambda: any("models:/autoprune.tiny.s60" in line for _, line in log_of(live, "search-cut")),
        RARELY,
    )
    assert ("prefect.task_runs", "Finished in state Completed()") not in log_of(live, "search-cut")
    # Neither servers nor worker nor run took anything of that folder for a module.
    assert not (live.folder / MARKER).exists(), (live.folder / MARKER).read_text()

    # Here, in the same folder, recorded by nobody.
    for name in [name for name in os.environ if name.startswith("MLFLOW_TRACKING_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(live.folder)
    monkeypatch.setenv("AUTOPRUNE_HOME", str(state.root))
    monkeypatch.setenv("AUTOPRUNE_PREFECT", "off")
    assert main(["search", *as_words(fields), "--no-register-winner", "--run=whole"]) in (0, 3)
    assert not (live.folder / MARKER).exists(), (live.folder / MARKER).read_text()
    with Search.open(state.run("cut")) as cut, Search.open(state.run("whole")) as other:
        assert cut.graph.digest == other.graph.digest


def test_servers_that_die_in_the_middle_lose_nothing(
    live: Live, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, url = live.state, live.tracking
    words = [*as_words(tiny_search(tiny_folder)), "--no-register-winner", "--run=shaken"]
    command = [*AUTOPRUNE, "search", *words]
    log = live.folder / "shaken.log"
    with log.open("wb") as stream:
        search = subprocess.Popen(
            command,
            cwd=live.folder,
            env=live.environment(MLFLOW_TRACKING_URI=url),
            stdout=stream,
            stderr=stream,
        )
    _until(lambda: _outcomes(state.run("shaken") / "search.db") >= 3)
    known = register_of(state).read()
    for name in ("prefect", "mlflow"):
        server = known[name].process()
        assert server is not None
        for member in [*server.children(recursive=True), server]:
            member.kill()
    assert search.wait(WAIT_SECONDS) in (0, 3), log.read_text()
    assert "Traceback" not in log.read_text() and "Events" not in log.read_text()

    _until(lambda: mlflow_answers(url, live.login) and prefect_answers(live.api, live.login))
    store = store_of(live, monkeypatch)
    experiments = [each.experiment_id for each in store.search_experiments()]
    (parent,) = store.search_runs(experiments, "tags.`autoprune.run` = 'shaken'")
    query = f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"
    with Search.open(state.run("shaken")) as done:
        assert len(store.search_runs(experiments, query)) == len(done.entries)
    assert parent.info.status == "FINISHED"


def _outcomes(log: Path) -> int:
    import sqlite3

    if not log.exists():
        return 0
    try:
        connection = sqlite3.connect(f"file:{log}?mode=ro", uri=True, timeout=5.0)
        try:
            query = "SELECT count(*) FROM events WHERE kind = 'outcome'"
            return int(connection.execute(query).fetchone()[0])
        finally:
            connection.close()
    except sqlite3.OperationalError:
        # The table is not there yet.
        return 0


def _until(holds: Any, every: float = 0.1) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(every)
