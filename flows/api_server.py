"""A private Prefect API for the length of one command.

Prefect's own temporary server shares the terminal's process group: Ctrl-C kills it before the
client has told it the final state, and the client then retries for a minute and prints tracebacks.
This one runs in a session of its own and is stopped last.
"""

import logging
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.state import State

log = logging.getLogger(__name__)

START_SECONDS = 120.0
STOP_SECONDS = 10.0
DRAIN_SECONDS = 5.0


def set_prefect_environment(state: State, *, verbose: bool = False) -> None:
    """Settings that Prefect reads at import: our home, no analytics, nothing on the screen.

    What the user has set stays as it is.
    """
    wanted = {
        "PREFECT_HOME": str(state.prefect),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
        "PREFECT_LOGGING_LEVEL": "WARNING",
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "INFO" if verbose else "CRITICAL",
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
        "PREFECT_CLI_WRAP_LINES": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "DO_NOT_TRACK": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    for name, value in wanted.items():
        os.environ.setdefault(name, value)


class ApiServer:
    """The server process; starts at once, is awaited later, so that it boots beside other work."""

    def __init__(self, state: State) -> None:
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}/api"
        state.prefect.mkdir(parents=True, exist_ok=True)
        self.log_file = state.prefect / "server.log"
        environment = os.environ | {
            "PREFECT_HOME": str(state.prefect),
            "PREFECT_UI_ENABLED": "0",
            "PREFECT__SERVER_EPHEMERAL": "1",
            "PREFECT__SERVER_FINAL": "1",
            "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "WARNING",
        }
        command = [sys.executable, "-m", "flows.api_process", str(self.port)]
        with self.log_file.open("ab") as stream:
            self.process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )

    def wait(self, seconds: float = START_SECONDS) -> bool:
        """Wait until the API answers; False if it died or took too long."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.process.poll() is None:
            if answers(self.url):
                return True
            time.sleep(0.1)
        return False

    def stop(self) -> None:
        """End the process and its children."""
        for sig, seconds in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, STOP_SECONDS)):
            if self.process.poll() is not None:
                return
            os.killpg(self.process.pid, sig)
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                log.debug("the Prefect API did not end after signal %d", sig)


def answers(url: str) -> bool:
    """Whether a Prefect API is healthy at ``url``."""
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=2.0) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError, ValueError):
        return False


@contextmanager
def private_api(state: State) -> Iterator[ApiServer | None]:
    """Start an API for this process; None where the user's ``PREFECT_API_URL`` is used instead."""
    if os.environ.get("PREFECT_API_URL"):
        yield None
        return
    server = ApiServer(state)
    os.environ["PREFECT_API_URL"] = server.url
    try:
        yield server
    finally:
        _send_what_waits()
        os.environ.pop("PREFECT_API_URL", None)
        server.stop()


def _send_what_waits() -> None:
    """Let Prefect's background senders finish while there is still somebody to send to."""
    if "prefect.events.worker" in sys.modules:
        from prefect.events.worker import EventsWorker
        from prefect.logging.handlers import APILogWorker

        for sender in (EventsWorker, APILogWorker):
            sender.drain_all(timeout=DRAIN_SECONDS)


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def log_tail(path: Path, lines: int = 1) -> str:
    """Last lines of a log file, for messages."""
    if not path.exists():
        return ""
    return "\n".join(path.read_text(errors="replace").strip().splitlines()[-lines:])
