"""Other users of the machine and pages of other sites get nowhere: real servers, real refusals."""

import json
import os
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from prefect.exceptions import PrefectHTTPStatusError

from flows.platform.login import login_file
from flows.platform.pools import POOL
from flows.platform.processes import register_of
from tasks.addresses import basic
from tests.support.command_line import CommandLine
from tests.support.platform_live import Live

NOBODY = 65534
CREATE = {"name": "made-by-a-stranger"}
FOREIGN = {"Origin": "http://evil.example"}


def ask(url: str, body: Any = None, **headers: str) -> int:
    """Status of a request: POST with a body, GET without."""
    data = None if body is None else json.dumps(body).encode()
    known = {"Content-Type": "application/json"} | headers
    request = urllib.request.Request(url, data, known)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def as_nobody(call: Callable[[], int]) -> int:
    """What a call gives to a process of the user ``nobody``."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    # Imports what it needs: another user may not read the files of this interpreter.
    call()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            os.write(write, str(call()).encode())
        finally:
            os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    with os.fdopen(read) as stream:
        return int(stream.read() or -1)


def prefect(live: Live) -> str:
    return f"{live.api}/deployments/filter"


def mlflow(live: Live) -> str:
    return f"{live.tracking}/api/2.0/mlflow/experiments/create"


def test_the_login_is_its_owners_alone(
    live: Live, again: "subprocess.CompletedProcess[str]"
) -> None:
    assert stat.S_IMODE(login_file(live.state).stat().st_mode) == 0o600
    assert len(live.login) > 30
    assert f"login    cat {login_file(live.state)}" in again.stdout
    assert live.login.partition(":")[2] not in again.stdout + again.stderr


def test_another_user_of_the_machine_is_refused(live: Live) -> None:
    for path in ("deployments/filter", "flow_runs/", "work_pools/filter"):
        assert as_nobody(lambda path=path: ask(f"{live.api}/{path}", {})) == 401  # type: ignore[misc]
    assert as_nobody(lambda: ask(f"{live.api}/admin/version")) == 401
    assert as_nobody(lambda: ask(mlflow(live), CREATE)) == 401
    assert as_nobody(lambda: ask(live.tracking)) == 401
    wrong = basic("autoprune:guessed")
    assert as_nobody(lambda: ask(prefect(live), {}, Authorization=wrong)) == 401
    assert as_nobody(lambda: ask(mlflow(live), CREATE, Authorization=wrong)) == 401


def test_a_foreign_page_or_name_is_refused_even_with_the_login(live: Live) -> None:
    known = {"Authorization": basic(live.login)}
    assert ask(prefect(live), {}, **known) == 200
    for url in (prefect(live), mlflow(live)):
        for origin in ("http://evil.example", "null", "http://127.0.0.1:1"):
            assert ask(url, CREATE, Origin=origin, **known) == 403
        assert ask(url, CREATE, Host="evil.example", **known) == 403
        assert ask(url, CREATE, Host=f"evil.example:{live.prefect}", **known) == 403
    own = f"http://localhost:{live.prefect}"
    assert ask(prefect(live), {}, Origin=own, **known) == 200
    assert ask(prefect(live), {}, Origin=f"http://127.0.0.1:{live.prefect}", **known) == 200


def test_the_browser_of_a_foreign_page_is_refused_before_it_asks(live: Live) -> None:
    import http.client

    for port, path in ((live.prefect, "/api/deployments/filter"), (live.mlflow, "/api/2.0/mlflow")):
        line = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        line.request("OPTIONS", path, headers=FOREIGN | {"Access-Control-Request-Method": "POST"})
        answer = line.getresponse()
        assert answer.status == 403
        assert answer.getheader("access-control-allow-origin") is None
        line.close()


@pytest.mark.parametrize("headers", [{}, FOREIGN])
def test_no_events_go_in_without_the_login(live: Live, headers: dict[str, str]) -> None:
    from websockets.exceptions import ConnectionClosed, InvalidStatus
    from websockets.sync.client import connect

    url = f"ws://127.0.0.1:{live.prefect}/api/events/in"
    with (
        pytest.raises((ConnectionClosed, InvalidStatus)),
        connect(url, additional_headers=headers, subprotocols=["prefect"]) as line,  # type: ignore[list-item]
    ):
        line.send(json.dumps({"type": "auth", "token": "guessed"}))
        line.recv(timeout=60)


def test_who_starts_a_run_chooses_neither_program_nor_checks(live: Live) -> None:
    with live.client() as client:
        pruning = client.read_deployment_by_name("prune/manual")
        template = client.read_work_pool(POOL).base_job_template
    assert "{{ command }}" not in str(template) and "env" not in template["job_configuration"]
    url = f"{live.api}/deployments/{pruning.id}/create_flow_run"
    known = {"Authorization": basic(live.login)}
    fine = {"parameters": {"params": {"model": "no-such-model"}}}
    assert ask(url, fine | {"enforce_parameter_schema": False}, **known) == 403
    assert ask(f"{url}/bulk", [fine | {"enforce_parameter_schema": False}], **known) == 403
    for variables in ({"command": "id"}, {"env": {"PATH": "/x"}}, {"working_dir": "/"}):
        assert ask(url, fine | {"job_variables": variables}, **known) == 422
    with live.client() as client, pytest.raises(PrefectHTTPStatusError):
        client.create_flow_run_from_deployment(pruning.id, job_variables={"env.PATH": "/x"})


def test_servers_and_worker_get_only_what_they_need(live: Live) -> None:
    """The keys are set by the fixture before ``up``."""
    seen = {}
    for name, running in register_of(live.state).read().items():
        process = running.process()
        assert isinstance(process, psutil.Process)
        seen[name] = process.environ()
        assert seen[name]["PYTHONSAFEPATH"] == "1"
    assert set(seen) == {"prefect", "mlflow", "worker"}
    assert not [name for name in seen if "SOME_OTHER_TOKEN" in seen[name]]
    assert [name for name in seen if "OPENAI_API_KEY" in seen[name]] == ["worker"]
    assert seen["worker"]["STORE_LOGIN"] == "name:word"
    assert "STORE_LOGIN" not in seen["prefect"] | seen["mlflow"]


def test_a_command_without_the_login_says_so_and_does_its_work(
    live: Live, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    cli = CommandLine(capsys, MODEL=tiny_folder, TEXT=tiny_folder / "text.txt")
    for name in ("PREFECT_API_AUTH_STRING", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AUTOPRUNE_HOME", str(tmp_path / "other"))
    monkeypatch.setenv("PREFECT_API_URL", live.api)
    shown = cli("evaluate MODEL --corpus TEXT --measured-windows 3 --seqlen 32")
    assert f"the Prefect API at {live.api} refuses the login" in shown.err
    assert shown.out.startswith("perplexity")


def test_no_server_is_served_without_a_login(tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-m", "flows.platform.serve"]
    clean = {name: value for name, value in os.environ.items() if not name.endswith("AUTH_STRING")}
    for server in ("prefect", "mlflow"):
        done = subprocess.run(
            [*command, server, "--port", "1"],
            cwd=tmp_path,
            env=clean,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        assert done.returncode == 2 and "nothing is served without" in done.stderr
