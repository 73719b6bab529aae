"""The two servers and the worker: how each is started and how it is known to be well."""

import json
import os
import platform
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flows.platform.pools import POOL, worker_path
from tasks.state import HOME_VARIABLE, State

PREFECT_PORT = 4200
MLFLOW_PORT = 5000
# Runs that a worker takes at once.
RUNS = 4
HEARTBEAT_SECONDS = 30
# Set for commands, whose screen is their own; a server and a worker have a log file.
QUIET = (
    "PREFECT_LOGGING_LEVEL",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL",
    "PREFECT_SERVER_LOGGING_LEVEL",
)
# Without these the programs ask the internet for news or send usage figures.
OFFLINE = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "1",
}


@dataclass(frozen=True)
class Service:
    """A program to start.

    Args:
        name: Its key in the register.
        title: What people call it.
        command: Program and arguments.
        environment: Its whole environment.
        url: Address for the API's users; of the worker, the API that it takes runs from.
        page: Address for people.
    """

    name: str
    title: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    url: str = ""
    page: str = ""


def folder(state: State) -> Path:
    """Where the platform keeps its register and logs."""
    return state.root / "platform"


def register_file(state: State) -> Path:
    """The file that names what was started."""
    return folder(state) / "services.json"


def prefect_server(state: State, port: int) -> Service:
    """The Prefect server on this machine, with its database in the state folder."""
    url = f"http://127.0.0.1:{port}/api"
    environment = _environment(state) | {
        # A UI on another port than 4200 asks 4200 unless it is told.
        "PREFECT_SERVER_UI_API_URL": url,
        "PREFECT_LOGGING_SERVER_LEVEL": "WARNING",
        # In memory, as is the default, a restart forgets who holds a slot, and it is held for ever.
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": (
            "prefect.server.concurrency.lease_storage.filesystem"
        ),
    }
    environment.pop("PREFECT_API_URL", None)
    words = ("-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port))
    return Service(
        "prefect", "Prefect server", (sys.executable, *words), environment, url, prefect_page(url)
    )


def mlflow_server(state: State, port: int) -> Service:
    """The MLflow server on this machine, over the same SQLite file that searches write to."""
    url = f"http://127.0.0.1:{port}"
    words = ("-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port))
    stores = ("--backend-store-uri", state.tracking_uri)
    places = ("--default-artifact-root", state.artifacts.as_uri(), "--workers", "1")
    environment = _environment(state) | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    command = (sys.executable, *words, *stores, *places)
    return Service("mlflow", "MLflow server", command, environment, url, url)


def worker(state: State, api: str, limit: int, pool: str = POOL) -> Service:
    """The worker that runs deployments, one process a run, in this folder and this state."""
    environment = _environment(state) | {
        "PREFECT_API_URL": api,
        "PATH": worker_path(os.environ.get("PATH")),
        "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
        "PREFECT_LOGGING_EXTRA_LOGGERS": "autoprune",
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_SECONDS),
        "TOKENIZERS_PARALLELISM": "false",
    }
    words = ("-m", "prefect", "worker", "start", "--pool", pool, "--name", worker_name())
    return Service(
        "worker",
        "worker",
        (sys.executable, *words, "--limit", str(limit), "--install-policy", "never"),
        environment,
        api,
    )


def worker_name() -> str:
    """Name of this machine's worker."""
    return f"autoprune-{platform.node() or 'worker'}"


def prefect_page(api: str) -> str:
    """The UI's address of an API."""
    return api.removesuffix("/api")


def prefect_answers(api: str) -> bool:
    """Whether a Prefect API is healthy at this address."""
    return _get(f"{api}/health") == "true" and bool(_get(f"{api}/admin/version"))


def mlflow_answers(url: str) -> bool:
    """Whether an MLflow server is healthy at this address."""
    return _get(f"{url}/health") == "OK" and bool(_get(f"{url}/version"))


def _get(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=3.0) as response:
            text = str(response.read(1000).decode("utf-8", "replace")).strip()
    except (urllib.error.URLError, OSError, ValueError):
        return ""
    try:
        return str(json.loads(text)) if text.startswith('"') else text
    except ValueError:
        return text


def _environment(state: State) -> dict[str, str]:
    """Ours, with what the programs need; a user's own choice stays."""
    environment = dict(os.environ)
    for name in QUIET:
        environment.pop(name, None)
    wanted = OFFLINE | {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2"}
    for name, value in wanted.items():
        environment.setdefault(name, value)
    environment[HOME_VARIABLE] = str(state.root)
    environment["PREFECT_HOME"] = str(state.prefect)
    return environment
