"""The process of one of our servers: Prefect's or MLflow's application behind the guard.

Run as ``python -P -m flows.platform.serve prefect --port 4200``. All but the address is passed in
its environment, since other users can read a command line:
``PREFECT_SERVER_API_AUTH_STRING`` (Prefect) or ``AUTOPRUNE_MLFLOW_LOGIN`` (MLflow), each
``name:password``, and ``AUTOPRUNE_MLFLOW_STORE``, the address of MLflow's database.
"""

import argparse
import contextlib
import logging
import os
import sys
from typing import Any, cast

from filelock import FileLock

from autoprune.lazy import uncollected
from flows.platform.guard import LOOPBACK, App, Enforced, Guard, own_origins

# Comma-separated names under which a server can be reached, besides those of this machine.
HOSTS_VARIABLE = "AUTOPRUNE_SERVER_HOSTS"
PREFECT_AUTH_VARIABLE = "PREFECT_SERVER_API_AUTH_STRING"
MLFLOW_AUTH_VARIABLE = "AUTOPRUNE_MLFLOW_LOGIN"
# Address of MLflow's database, which may hold a password.
MLFLOW_STORE_VARIABLE = "AUTOPRUNE_MLFLOW_STORE"
# Same as in `prefect server start`.
KEEP_ALIVE_SECONDS = 5


def main() -> int:
    """Serve until stopped; return 2 without a login, since then anyone could use the server."""
    parser = argparse.ArgumentParser(prog="flows.platform.serve")
    parser.add_argument("server", choices=("prefect", "mlflow"))
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--default-artifact-root", help="of MLflow")
    parser.add_argument("--artifacts-destination", help="of MLflow", default="./mlartifacts")
    given = parser.parse_args()
    variable = PREFECT_AUTH_VARIABLE if given.server == "prefect" else MLFLOW_AUTH_VARIABLE
    login = os.environ.get(variable, "")
    if not login.partition(":")[2]:
        print(f"{variable} must hold name:password; nothing is served without", file=sys.stderr)
        return 2
    os.environ.pop(MLFLOW_AUTH_VARIABLE, None)
    application = prefect_application(given.port) if given.server == "prefect" else _mlflow(given)
    # Prefect checks its login itself, on its WebSockets too.
    asked = "" if given.server == "prefect" else login
    serve(Guard(application, hosts(), own_origins(given.port), asked), given.host, given.port)
    return 0


@uncollected()
def prefect_application(port: int) -> App:
    """Return Prefect's application; only pages under this machine's names may call it."""
    os.environ["PREFECT_SERVER_CORS_ALLOWED_ORIGINS"] = ",".join(own_origins(port))
    _migrate()
    from prefect.server.api.server import create_app

    return Enforced(cast(App, create_app(final=True)))


def _migrate() -> None:
    """Bring Prefect's database up to date, one server after the other.

    The application does so too, but of two that start at once over a new database, one fails.
    """
    import anyio
    from prefect.server.database.alembic_commands import alembic_upgrade
    from prefect.settings import get_current_settings

    home = get_current_settings().home
    # Not in the folder that the server was started in, for the reason given in `serve`.
    with FileLock(str(home / "migration.lock")), contextlib.chdir("/"):
        # Prefect's migrations run only on a thread that an event loop has started.
        anyio.run(lambda: anyio.to_thread.run_sync(alembic_upgrade))


def hosts() -> list[str]:
    """Return the names under which this process may be addressed."""
    more = os.environ.get(HOSTS_VARIABLE, "").split(",")
    return [*LOOPBACK, *(name.strip() for name in more if name.strip())]


def serve(application: App, host: str, port: int, log_level: str = "warning") -> None:
    """Run an application until a signal ends it, from a folder where no one can plant files.

    Prefect's alembic.ini puts ``.`` first on the path, and ``-P`` does not prevent that. The
    settings of the folder that the server was started in have been read by now.
    """
    import uvicorn

    os.chdir("/")
    uvicorn.run(
        cast(Any, application),
        host=host,
        port=port,
        log_level=log_level,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        lifespan="on",
    )


@uncollected()
def _mlflow(given: argparse.Namespace) -> App:
    """Return MLflow's application, set up as by `mlflow server`, in this process alone."""
    from mlflow.server import constants

    store = os.environ.pop(MLFLOW_STORE_VARIABLE)
    os.environ |= {
        constants.BACKEND_STORE_URI_ENV_VAR: store,
        constants.ARTIFACT_ROOT_ENV_VAR: given.default_artifact_root,
        constants.ARTIFACTS_DESTINATION_ENV_VAR: given.artifacts_destination,
        constants.SERVE_ARTIFACTS_ENV_VAR: "true",
        "_MLFLOW_SGI_NAME": "uvicorn",
        "_MLFLOW_IN_JOB_EXECUTOR": "false",
        # The guard has checked already; MLflow itself knows only these names.
        "MLFLOW_SERVER_ALLOWED_HOSTS": ",".join(
            pattern for name in hosts() for pattern in _with_ports(name)
        ),
    }
    from mlflow.server.handlers import initialize_backend_stores

    logging.getLogger("mlflow").setLevel(logging.WARNING)
    initialize_backend_stores(store, None, given.default_artifact_root)
    from mlflow.server.fastapi_app import app

    return cast(App, app)


def _with_ports(name: str) -> tuple[str, str]:
    # An IPv6 address is in brackets, which MLflow's patterns read as a character set.
    shown = f"[[]{name}]" if ":" in name else name
    return f"[{name}]" if ":" in name else name, f"{shown}:*"


if __name__ == "__main__":
    sys.exit(main())
