"""A private Prefect API that lives as long as one command.

Prefect's own temporary server shares the terminal's process group: Ctrl-C kills it before the
client has reported the final state, and the client then retries for a minute and prints tracebacks.
This one runs in a session of its own and is stopped last.
"""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path

from flows.platform.environment import prefect_server_environment
from flows.platform.login import AUTH_VARIABLE, login_of, new_login, use_logins
from flows.platform.ports import free_port
from flows.platform.processes import register_of
from flows.platform.serve import PREFECT_AUTH_VARIABLE
from flows.platform.services import LEASE_STORAGE
from flows.terminal.output import tell
from tasks.addresses import basic, request_to
from tasks.state import State, without_login
from tasks.switches import RECORD_VARIABLE, switched_on

log = logging.getLogger(__name__)

START_SECONDS = 120.0
STOP_SECONDS = 10.0
DRAIN_SECONDS = 5.0
WATCH_SECONDS = 1.0
RESTARTS = 3
UNAUTHORIZED = 401


def set_prefect_environment(state: State, *, verbose: bool = False) -> None:
    """Set what Prefect reads at import: our home folder, no analytics, no output on the screen.

    Settings made by the user stay as they are.
    """
    wanted = {
        "PREFECT_HOME": str(state.prefect),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
        "PREFECT_LOGGING_LEVEL": "WARNING",
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "INFO" if verbose else "CRITICAL",
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
        # Its background senders complain on the screen if the server dies; the run continues.
        "PREFECT_INTERNAL_LOGGING_LEVEL": "ERROR" if verbose else "CRITICAL",
        "PREFECT_CLI_WRAP_LINES": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        # By default, every step waits for minutes while a server is down.
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
        "DO_NOT_TRACK": "1",
        "TOKENIZERS_PARALLELISM": "false",
        # A file in the current folder must not name another one, which could name code to run.
        "PREFECT_LOGGING_CONFIG_PATH": str(state.prefect / "logging.yml"),
    }
    for name, value in wanted.items():
        os.environ.setdefault(name, value)
    use_logins(state)


class ApiServer:
    """The server process; it starts at once and is awaited later, so it boots during other work.

    If it dies, it is restarted at the same address, so that the run's record continues.
    """

    def __init__(self, state: State) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/api"
        state.prefect.mkdir(parents=True, exist_ok=True)
        self.home = state.prefect
        # Other users of this machine can reach the port too.
        self.login = new_login()
        self.log_file = state.prefect / "server.log"
        self.process = self._launch()
        self._answered = False
        self._ending = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def _launch(self) -> "subprocess.Popen[bytes]":
        environment = prefect_server_environment(os.environ) | {
            "PREFECT_HOME": str(self.home),
            "PREFECT_UI_ENABLED": "0",
            "PREFECT__SERVER_EPHEMERAL": "1",
            "PREFECT__SERVER_FINAL": "1",
            "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "WARNING",
            # It was migrated before; and to list the blocks of all integrations, which no flow of
            # ours uses, a start would import them.
            "PREFECT_SERVER_DATABASE_MIGRATE_ON_START": "false",
            "PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "false",
            "PREFECT_SERVER_MEMOIZE_BLOCK_AUTO_REGISTRATION": "false",
            # The database keeps slots; in memory, that of a killed command would be held for ever.
            "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": LEASE_STORAGE,
            PREFECT_AUTH_VARIABLE: self.login,
        }
        command = [sys.executable, "-P", "-m", "flows.platform.api_process"]
        command += [str(self.port), str(os.getpid())]
        with self.log_file.open("ab") as stream:
            return subprocess.Popen(
                command,
                env=environment,
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )

    def _watch(self) -> None:
        for _ in range(RESTARTS):
            while self.process.poll() is None:
                if self._ending.wait(WATCH_SECONDS):
                    return
            # A server that never answered has a reason of its own, and would die of it again.
            if not self._ending.is_set() and self._answered:
                log.info("the private Prefect API ended with %s", self.process.returncode)
                self.process = self._launch()

    def wait(self, seconds: float = START_SECONDS) -> bool:
        """Wait until the API answers; False if it died or took too long."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.process.poll() is None:
            if answers(self.url):
                self._answered = True
                return True
            time.sleep(0.1)
        return False

    def stop(self) -> None:
        """End the process and its children."""
        self._ending.set()
        for sig, seconds in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, STOP_SECONDS)):
            if self.process.poll() is not None:
                return
            os.killpg(self.process.pid, sig)
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                log.debug("the Prefect API did not end after signal %d", sig)


def answers(url: str) -> bool:
    """Return whether a Prefect API is healthy at ``url``."""
    try:
        with urllib.request.urlopen(request_to(f"{url}/health"), timeout=2.0) as response:
            return bool(response.status == 200)
    except (HTTPException, OSError, ValueError):
        return False


def refuses(url: str) -> bool:
    """Return whether a Prefect API rejects the login that this process's clients send."""
    if os.environ.get("PREFECT_API_KEY"):
        # Prefect Cloud has its own kind of login, which its client handles better.
        return False
    login = os.environ.get(AUTH_VARIABLE)
    request = request_to(f"{url}/admin/version")
    if login:
        request.add_header("Authorization", basic(login))
    try:
        with urllib.request.urlopen(request, timeout=2.0):
            return False
    except urllib.error.HTTPError as error:
        return error.code == UNAUTHORIZED
    except (HTTPException, OSError, ValueError):
        return False


@contextmanager
def private_api(state: State) -> Iterator[ApiServer | None]:
    """Start an API for this process.

    Yield None if another one is used: that of the user's ``PREFECT_API_URL``, or the one that
    ``autoprune up`` started over the same database.
    """
    if os.environ.get("PREFECT_API_URL"):
        yield None
        return
    shared = running_api(state)
    server = None if shared else ApiServer(state)
    url, login = (shared, login_of(state, shared)) if server is None else (server.url, server.login)
    with _address(url, login):
        try:
            yield server
        finally:
            _send_what_waits()
            if server is not None:
                server.stop()


def running_api(state: State) -> str:
    """Return the address of a healthy server that may be used; empty if there is none.

    The user's ``PREFECT_API_URL`` takes precedence over the server of ``autoprune up``. A server
    that is left alone because recording is off, or because it refuses the login, is named on
    stderr.
    """
    own = os.environ.get("PREFECT_API_URL")
    known = None if own else register_of(state).read().get("prefect")
    url = own or (known.url if known is not None else "")
    if not url:
        return ""
    shown = without_login(url)
    if not switched_on(RECORD_VARIABLE):
        tell(f"{RECORD_VARIABLE} is off, so the record in Prefect at {shown} stays as it is")
        return ""
    if not answers(url):
        return ""
    if own and refuses(own):
        tell(
            f"the Prefect API at {shown} refuses the login, so the record there stays as it is; "
            f"set {AUTH_VARIABLE} to its name:password"
        )
        return ""
    return url


@contextmanager
def _address(url: str, login: str) -> Iterator[None]:
    """Make ``url`` this process's API, even if Prefect has already read its settings."""
    before = os.environ.pop(AUTH_VARIABLE, None)
    os.environ["PREFECT_API_URL"] = url
    if login:
        os.environ[AUTH_VARIABLE] = login
    _read_settings_again()
    try:
        yield
    finally:
        os.environ.pop("PREFECT_API_URL", None)
        os.environ.pop(AUTH_VARIABLE, None)
        if before is not None:
            os.environ[AUTH_VARIABLE] = before
        _read_settings_again()


def _read_settings_again() -> None:
    if "prefect.context" in sys.modules:
        from prefect.context import refresh_global_settings_context

        refresh_global_settings_context()


def _send_what_waits() -> None:
    """Let Prefect's background senders finish while the server is still there."""
    if "prefect.events.worker" in sys.modules:
        from prefect.events.worker import EventsWorker
        from prefect.logging.handlers import APILogWorker

        for sender in (EventsWorker, APILogWorker):
            sender.drain_all(timeout=DRAIN_SECONDS)


def log_tail(path: Path, lines: int = 1) -> str:
    """Return the last lines of a log file, for messages."""
    if not path.exists():
        return ""
    return "\n".join(path.read_text(errors="replace").strip().splitlines()[-lines:])
