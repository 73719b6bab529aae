"""The login of a state folder's own servers: made once, kept in a file for its owner alone."""

import base64
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
    """Where the login stands: one line, ``name:password``."""
    return folder(state) / "login"


def new_login() -> str:
    """A login that nobody can guess, ``name:password``."""
    return f"{USER}:{secrets.token_urlsafe(24)}"


def own_login(state: State) -> str:
    """The login of this state folder's servers, made now if there is none yet.

    Raises:
        PrerequisiteError: If others may read the file, so that it keeps nobody out.
    """
    file = login_file(state)
    file.parent.mkdir(parents=True, exist_ok=True)
    if not file.exists():
        part = file.with_name(f"{file.name}.{os.getpid()}")
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _MODE)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(f"{new_login()}\n")
        # Two first starts at once: the first name given stays.
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
    """The login at a Prefect API, empty when there is none.

    That of our own server where the register names its address, else the user's
    ``PREFECT_API_AUTH_STRING``.
    """
    return _own(state, "prefect", api) or os.environ.get(AUTH_VARIABLE, "")


def mlflow_login_of(state: State, url: str) -> str:
    """The login at an MLflow server: our own one's, else that of MLflow's variables."""
    name, password = (os.environ.get(variable, "") for variable in MLFLOW_VARIABLES)
    return _own(state, "mlflow", url) or (f"{name}:{password}" if name else "")


def use_logins(state: State) -> None:
    """Let this process's clients log in at our own servers, where a variable names one of these."""
    own = _own(state, "prefect", os.environ.get("PREFECT_API_URL", ""))
    if own:
        os.environ.setdefault(AUTH_VARIABLE, own)
    own = _own(state, "mlflow", os.environ.get("MLFLOW_TRACKING_URI", ""))
    if own:
        for variable, value in zip(MLFLOW_VARIABLES, own.split(":", 1), strict=True):
            os.environ.setdefault(variable, value)


def _own(state: State, server: str, url: str) -> str:
    """The login of our own server, empty where another one is at the address."""
    known = register_of(state).noted().get(server)
    mine = known is not None and known.url == url.rstrip("/") and login_file(state).exists()
    return own_login(state) if mine else ""


def basic(login: str) -> str:
    """The ``Authorization`` header of a login."""
    return f"Basic {base64.b64encode(login.encode()).decode()}"
