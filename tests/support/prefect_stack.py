"""A real Prefect server and a process worker, on ports and in folders of their own."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from flows.platform import services
from flows.platform.ports import free_port
from flows.up.provisioning import prepare_server
from tasks.state import State

PREFECT = (sys.executable, "-m", "prefect")
# Ten questions a second would keep a third of a core busy.
RARELY = 0.5


def until(ready: Callable[[], Any], seconds: float, what: str, every: float = 0.1) -> Any:
    """Wait for something, and say what it was when it does not come."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = ready()
        if found:
            return found
        time.sleep(every)
    raise AssertionError(f"no {what} within {seconds:.0f} s")


def healthy(api: str) -> bool:
    """Whether the server answers."""
    try:
        with urlopen(f"{api}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


@contextmanager
def started(words: list[str], environment: Mapping[str, str], log: Path) -> Iterator[Any]:
    """A process in a session of its own, ended with all its children."""
    with log.open("ab") as stream:
        process = subprocess.Popen(
            words, env=dict(environment), stdout=stream, stderr=stream, start_new_session=True
        )
    try:
        yield process
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            if process.poll() is None:
                os.killpg(process.pid, number)
                try:
                    process.wait(15)
                except subprocess.TimeoutExpired:
                    continue


@contextmanager
def prefect_stack(
    folder: Path, home: Path, template: Path, more: Mapping[str, str]
) -> Iterator[tuple[str, int]]:
    """Server, work pool and worker, the last two as `autoprune up` makes them."""
    (folder / "prefect").mkdir()
    shutil.copy(template, folder / "prefect" / "prefect.db")
    port = free_port()
    api = f"http://127.0.0.1:{port}/api"
    environment = os.environ | {
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_API_URL": api,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
    }
    server = [*PREFECT, "server", "start", "--no-ui", "--host", "127.0.0.1", "--port", str(port)]
    with started(server, environment, folder / "server.log"):
        until(lambda: healthy(api), 90, "Prefect server")
        prepare_server(api)
        worker = services.worker(State(home), api, 2)
        quick = {**worker.environment, "PREFECT_WORKER_QUERY_SECONDS": "1", **more}
        with started(list(worker.command), quick, folder / "worker.log") as process:
            yield api, process.pid
