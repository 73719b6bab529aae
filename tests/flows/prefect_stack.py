"""A real Prefect server and a process worker, on ports and in folders of their own."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

POOL = "autoprune"
PREFECT = (sys.executable, "-m", "prefect")


def until(ready: Callable[[], Any], seconds: float, what: str) -> Any:
    """Wait for something, and say what it was when it does not come."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = ready()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"no {what} within {seconds:.0f} s")


def free_port() -> int:
    """A port that nobody uses."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


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
def prefect_stack(folder: Path, extra: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Server, work pool and worker; yields the environment that reaches them.

    Args:
        folder: Where Prefect keeps its files.
        extra: More variables of the worker and its runs.
    """
    port = free_port()
    api = f"http://127.0.0.1:{port}/api"
    environment = os.environ | {
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_API_URL": api,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        **extra,
    }
    server = [*PREFECT, "server", "start", "--no-ui", "--host", "127.0.0.1", "--port", str(port)]
    worker = [*PREFECT, "worker", "start", "--pool", POOL, "--type", "process"]
    with started(server, environment, folder / "server.log"):
        until(lambda: healthy(api), 90, "Prefect server")
        with started(worker, environment, folder / "worker.log"):
            yield environment
