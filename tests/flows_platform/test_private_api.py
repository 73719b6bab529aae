"""The Prefect API of one command: nobody else's, and nothing of the current folder runs in it."""

import json
import os
import shlex
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from prefect.client.orchestration import get_client

from flows.platform.api_server import ApiServer, private_api
from flows.platform.login import login_file, own_login
from flows.platform.pools import COMMAND, worker_path
from flows.up.provisioning import client_of
from tasks.addresses import basic
from tasks.state import State
from tests.support.platform_live import MARKER, make_hostile


@pytest.fixture
def state(tmp_path: Path, prefect_template: Path) -> State:
    found = State.open(tmp_path / "state")
    found.prefect.mkdir()
    shutil.copy(prefect_template, found.prefect / "prefect.db")
    return found


@pytest.fixture
def server(tmp_path: Path, state: State, monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiServer]:
    make_hostile(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-designer")
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "of:another-server")
    with private_api(state) as found:
        assert found is not None and found.wait()
        yield found
    assert os.environ["PREFECT_API_AUTH_STRING"] == "of:another-server"


def status(url: str, **headers: str) -> int:
    body = json.dumps({}).encode()
    known = {"Content-Type": "application/json"} | headers
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, known), timeout=60) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_only_its_own_command_may_use_it(server: ApiServer, tmp_path: Path) -> None:
    url = f"{server.url}/flows/filter"
    known = {"Authorization": basic(server.login)}
    assert status(url) == 401
    assert status(url, Authorization=basic("autoprune:guessed")) == 401
    assert status(url, Host="evil.example", **known) == 403
    assert status(url, Origin="http://evil.example", **known) == 403
    with client_of(server.url, server.login) as client:
        assert client.read_flows() == []
    # The clients of the command are logged in, whatever login its user has for another server.
    with get_client(sync_client=True) as client:
        assert client.read_flows() == []
    environment = psutil.Process(server.process.pid).environ()
    assert "OPENAI_API_KEY" not in environment
    assert not (tmp_path / MARKER).exists()


def test_a_run_s_own_process_takes_nothing_from_its_folder(tmp_path: Path) -> None:
    make_hostile(tmp_path)
    environment = os.environ | {"PATH": worker_path(os.environ.get("PATH"))}
    words = shlex.split(COMMAND)
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert done.returncode != 0 and b"flow run" in done.stderr.lower()
    assert not (tmp_path / MARKER).exists()


def test_a_login_that_others_may_read_is_refused(tmp_path: Path) -> None:
    from autoprune.errors import PrerequisiteError

    state = State.open(tmp_path / "state")
    first = own_login(state)
    assert own_login(state) == first and first.startswith("autoprune:")
    assert own_login(State.open(tmp_path / "other")) != first
    login_file(state).chmod(0o644)
    with pytest.raises(PrerequisiteError, match=r"mode 0644, so others may read it"):
        own_login(state)


def test_two_commands_may_start_over_a_new_database(tmp_path: Path) -> None:
    state = State.open(tmp_path / "new")
    servers = [ApiServer(state) for _ in range(2)]
    try:
        assert [server.wait() for server in servers] == [True, True]
    finally:
        for server in servers:
            server.stop()
