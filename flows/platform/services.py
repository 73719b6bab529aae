"""The two servers and the worker: how to start each and check its health."""

import json
import os
import platform
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path

from flows.platform.environment import (
    mlflow_server_environment,
    prefect_server_environment,
    worker_environment,
)
from flows.platform.login import AUTH_VARIABLE, MLFLOW_VARIABLES, own_login
from flows.platform.pools import POOL, worker_path
from flows.platform.processes import folder, register_of
from flows.platform.serve import (
    MLFLOW_AUTH_VARIABLE,
    MLFLOW_STORE_VARIABLE,
    PREFECT_AUTH_VARIABLE,
)
from tasks.addresses import basic, request_to
from tasks.state import HOME_VARIABLE, PAGE_VARIABLE, State

PREFECT_PORT = 4200
MLFLOW_PORT = 5000
# Runs that a worker takes at once.
RUNS = 4
HEARTBEAT_SECONDS = 30
SERVE = ("-P", "-m", "flows.platform.serve")
# The default, in memory, forgets slot holders on a restart, and their slots stay held for ever.
LEASE_STORAGE = "prefect.server.concurrency.lease_storage.filesystem"
# Commands set these to keep the screen to themselves; a server and a worker have a log file.
QUIET = (
    "PREFECT_LOGGING_LEVEL",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL",
    "PREFECT_SERVER_LOGGING_LEVEL",
)
# Without these, the programs check the internet for news or send usage figures.
OFFLINE = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "1",
}


@dataclass(frozen=True)
class Server:
    """A server that the environment may name instead of one started here.

    Args:
        title: What messages call it.
        variable: Environment variable of its address.
        login: Variables of its login, in words.
        option: Option of its port.
    """

    title: str
    variable: str
    login: str
    option: str


PREFECT = Server("Prefect server", "PREFECT_API_URL", AUTH_VARIABLE, "--prefect-port")
MLFLOW = Server(
    "MLflow server", "MLFLOW_TRACKING_URI", " and ".join(MLFLOW_VARIABLES), "--mlflow-port"
)


@dataclass(frozen=True)
class Service:
    """A program to start.

    Args:
        name: Its key in the register.
        title: Its name for people.
        command: Program and arguments.
        environment: Its whole environment.
        url: Address for the API's users; for the worker, the API from which it takes runs.
        page: Address for people.
        folder: Where it starts: not the user's for a server, which would read settings there.
        login: ``name:password`` that it requires.
    """

    name: str
    title: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    url: str = ""
    page: str = ""
    folder: Path = Path()
    login: str = field(default="", repr=False)


def prefect_server(state: State, port: int) -> Service:
    """The Prefect server on this machine, with its database in the state folder."""
    url = f"http://127.0.0.1:{port}/api"
    login = own_login(state)
    environment = _environment(state, prefect_server_environment(os.environ)) | {
        # A UI on a port other than 4200 queries 4200 unless configured.
        "PREFECT_SERVER_UI_API_URL": url,
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": LEASE_STORAGE,
        PREFECT_AUTH_VARIABLE: login,
    }
    words = (*SERVE, "prefect", "--port", str(port))
    return Service(
        "prefect",
        "Prefect server",
        (sys.executable, *words),
        environment,
        url,
        prefect_page(url),
        folder(state),
        login,
    )


def mlflow_server(state: State, port: int) -> Service:
    """The MLflow server on this machine, over the same SQLite file that searches write to."""
    url = f"http://127.0.0.1:{port}"
    login = own_login(state)
    words = (*SERVE, "mlflow", "--port", str(port))
    places = ("--default-artifact-root", state.artifacts.as_uri())
    environment = _environment(state, mlflow_server_environment(os.environ)) | {
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        MLFLOW_AUTH_VARIABLE: login,
        MLFLOW_STORE_VARIABLE: state.tracking_uri,
    }
    command = (sys.executable, *words, *places)
    return Service("mlflow", "MLflow server", command, environment, url, url, folder(state), login)


def worker(state: State, api: str, limit: int, pool: str = POOL, login: str = "") -> Service:
    """The worker that runs deployments, one process per run, in this folder and state."""
    environment = _environment(state, worker_environment(os.environ)) | {
        "PREFECT_API_URL": api,
        "PATH": worker_path(os.environ.get("PATH")),
        "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
        "PREFECT_LOGGING_EXTRA_LOGGERS": "autoprune",
        # "Finished in state Completed()" of every task would hide candidates' lines on the page.
        "PREFECT_LOGGING_LOGGERS_PREFECT_TASK_RUNS_LEVEL": "WARNING",
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_SECONDS),
        "TOKENIZERS_PARALLELISM": "false",
    }
    if login:
        environment[AUTH_VARIABLE] = login
    page = mlflow_page(state)
    if page:
        # Gives a run's page its link; with a file as its store, a run does not know the server.
        environment[PAGE_VARIABLE] = page
    module = ("-P", "-m", "flows.platform.prefect_module", "prefect")
    words = (*module, "worker", "start", "--pool", pool, "--name", worker_name())
    return Service(
        "worker",
        "worker",
        (sys.executable, *words, "--limit", str(limit), "--install-policy", "never"),
        environment,
        api,
    )


def mlflow_page(state: State) -> str:
    """Return MLflow's address for people: the user's setting, else the server of `autoprune up`."""
    known = register_of(state).read().get("mlflow")
    return state.mlflow_page or (known.url if known is not None else "")


def worker_name() -> str:
    """Return the name of this machine's worker."""
    return f"autoprune-{platform.node() or 'worker'}"


def prefect_page(api: str) -> str:
    """Return the address of an API's UI."""
    return api.removesuffix("/api")


def prefect_is_at(api: str) -> bool:
    """Return whether a Prefect API is at this address, with or without a login."""
    return _get(f"{api}/health") == "true"


def mlflow_is_at(url: str) -> bool:
    """Return whether an MLflow server is at this address, with or without a login."""
    return _get(f"{url}/health") == "OK"


def prefect_answers(api: str, login: str = "") -> bool:
    """Return whether a Prefect API is healthy at this address and accepts this login."""
    return prefect_is_at(api) and bool(_get(f"{api}/admin/version", login))


def mlflow_answers(url: str, login: str = "") -> bool:
    """Return whether an MLflow server is healthy at this address and accepts this login."""
    return mlflow_is_at(url) and bool(_get(f"{url}/version", login))


def _get(url: str, login: str = "") -> str:
    request = request_to(url)
    if login:
        request.add_header("Authorization", basic(login))
    try:
        with urllib.request.urlopen(request, timeout=3.0) as response:
            text = str(response.read(1000).decode("utf-8", "replace")).strip()
    except (HTTPException, OSError, ValueError):
        return ""
    try:
        return str(json.loads(text)) if text.startswith('"') else text
    except ValueError:
        return text


def _environment(state: State, chosen: Mapping[str, str]) -> dict[str, str]:
    """Return the chosen variables plus what the programs need; the user's own settings stay."""
    environment = dict(chosen)
    for name in QUIET:
        environment.pop(name, None)
    wanted = OFFLINE | {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2"}
    for name, value in wanted.items():
        environment.setdefault(name, value)
    environment[HOME_VARIABLE] = str(state.root)
    environment["PREFECT_HOME"] = str(state.prefect)
    # A file in the current folder must not name another one, which could name code to run.
    environment["PREFECT_LOGGING_CONFIG_PATH"] = str(state.prefect / "logging.yml")
    return environment
