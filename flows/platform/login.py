"""The login of a state folder's own servers: made once, in a file that only its owner reads."""

import os
import secrets
from pathlib import Path

from autoprune.errors import PrerequisiteError
from flows.platform.processes import folder, register_of
from tasks.state import State

USER = "autoprune"
AUTH_VARIABLE = "PREFECT_API_AUTH_STRING"
MLFLOW_VARIABLES = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
_MODE = 0o600


def login_file(state: State) -> Path:
    """Return the path of the login: a file of one line, ``name:password``."""
    return folder(state) / "login"


def new_login() -> str:
    """Make an unguessable login, ``name:password``."""
    return f"{USER}:{secrets.token_urlsafe(24)}"


def own_login(state: State) -> str:
    """Return the login of this state folder's servers; create it if there is none yet."""
    file = login_file(state)
    file.parent.mkdir(parents=True, exist_ok=True)
    if not file.exists():
        part = file.with_name(f"{file.name}.{os.getpid()}")
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _MODE)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(f"{new_login()}\n")
        # Two first starts at once: the login written first stays.
        try:
            os.link(part, file)
        except FileExistsError:
            pass
        finally:
            part.unlink()
    mode = file.stat().st_mode & 0o777
    if mode & 0o077:
        raise PrerequisiteError(
            f"the login file {file} has mode {mode:04o}, so others may read it; run `autoprune "
            "down`, delete it (a new one is made), then run `autoprune up`"
        )
    return file.read_text(encoding="utf-8").strip()


def login_of(state: State, api: str) -> str:
    """Return the login for a Prefect API; empty if there is none.

    If the register lists the address, it is that of our own server; otherwise it is the user's
    ``PREFECT_API_AUTH_STRING``.
    """
    return _own(state, "prefect", api) or os.environ.get(AUTH_VARIABLE, "")


def mlflow_login_of(state: State, url: str) -> str:
    """Return the login for an MLflow server: our own server's, else that of MLflow's variables."""
    name, password = (os.environ.get(variable, "") for variable in MLFLOW_VARIABLES)
    return _own(state, "mlflow", url) or (f"{name}:{password}" if name else "")


def use_logins(state: State) -> None:
    """Let this process's clients log in at our own servers if a variable names one of them."""
    own = _own(state, "prefect", os.environ.get("PREFECT_API_URL", ""))
    if own:
        os.environ.setdefault(AUTH_VARIABLE, own)
    own = _own(state, "mlflow", os.environ.get("MLFLOW_TRACKING_URI", ""))
    if own:
        for variable, value in zip(MLFLOW_VARIABLES, own.split(":", 1), strict=True):
            os.environ.setdefault(variable, value)


def _own(state: State, server: str, url: str) -> str:
    """Return the login of our own server; empty if the address belongs to another one."""
    known = register_of(state).noted().get(server)
    mine = known is not None and known.url == url.rstrip("/") and login_file(state).exists()
    return own_login(state) if mine else ""
