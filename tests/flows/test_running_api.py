"""Which Prefect server a command that corrects records talks to."""

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.platform import api_server
from flows.platform.api_server import running_api
from flows.platform.ports import FIRST, LAST, free_port
from tasks.state import State


class Healthy(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        known = {"/api/health": 200, "/api/admin/version": 200}
        if "Authorization" not in self.headers:
            known["/api/admin/version"] = 401
        self.send_response(known.get(self.path, 404))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def team_server() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Healthy)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/api"
    server.shutdown()
    server.server_close()


def test_a_team_server_is_found_by_its_address(
    team_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = State(tmp_path)
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    assert running_api(state) == ""
    monkeypatch.setenv("PREFECT_API_URL", team_server)
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "me:secret")
    assert running_api(state) == team_server
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    assert running_api(state) == ""


def test_a_team_server_is_left_alone_without_a_login_or_with_recording_off(
    team_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("PREFECT_API_URL", team_server)
    monkeypatch.delenv("PREFECT_API_AUTH_STRING", raising=False)
    assert running_api(State(tmp_path)) == ""
    assert "refuses the login" in capsys.readouterr().err
    monkeypatch.setenv("PREFECT_API_URL", team_server.replace("://", "://me:secret@"))
    monkeypatch.setenv("AUTOPRUNE_PREFECT", "off")
    monkeypatch.setattr(api_server, "answers", lambda _: pytest.fail("the server was asked"))
    assert running_api(State(tmp_path)) == ""
    shown = capsys.readouterr().err
    assert "AUTOPRUNE_PREFECT is off" in shown and f"at {team_server} stays" in shown


def test_a_server_gets_no_port_that_a_connection_may_have_by_then() -> None:
    given = Path("/proc/sys/net/ipv4/ip_local_port_range")
    if not given.exists():
        pytest.skip("the system does not say which ports connections get")
    first, last = map(int, given.read_text().split())
    if first <= LAST:
        pytest.skip(f"here connections get ports from {first} on")
    ports = {free_port() for _ in range(20)}
    assert all(FIRST <= port <= LAST and not first <= port <= last for port in ports)
