"""A running ``autoprune up`` of the tests, and commands beside it."""

import os
import subprocess
import sys
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flows.platform.login import own_login
from flows.up.provisioning import client_of
from tasks.state import State

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

START_SECONDS = 180.0
STOP_SECONDS = 60.0
AUTOPRUNE = (sys.executable, "-P", "-m", "flows.cli")
# Files of these names in a user's folder must not be taken for the installed ones.
NAMES = ("flows", "tasks", "autoprune", "json", "numpy", "torch", "prefect", "mlflow", "uvicorn")
MARKER = "code-of-the-folder-ran"


def make_hostile(folder: Path) -> None:
    """Fill a folder with packages and modules that note it when they are run."""
    for name in NAMES:
        (folder / name).mkdir()
        note = f"open({str(folder / MARKER)!r}, 'a').write({name!r} + chr(10))\n"
        (folder / name / "__init__.py").write_text(note)
    (folder / "sitecustomize.py").write_text(note)


@dataclass
class Live:
    """A running ``autoprune up``.

    Args:
        folder: Its working folder.
        prefect: Port of the Prefect server.
        mlflow: Port of the MLflow server.
        process: The command.
    """

    folder: Path
    prefect: int
    mlflow: int
    process: "subprocess.Popen[bytes]"

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.prefect}/api"

    @property
    def tracking(self) -> str:
        return f"http://127.0.0.1:{self.mlflow}"

    @property
    def state(self) -> State:
        return State(self.folder / "state")

    @property
    def login(self) -> str:
        """``name:password`` of both servers."""
        return own_login(self.state)

    def client(self) -> "AbstractContextManager[SyncPrefectClient]":
        """A client of the Prefect server."""
        return client_of(self.api, self.login)

    def logins(self) -> dict[str, str]:
        """Variables with which another project uses these servers."""
        name, _, password = self.login.partition(":")
        return {
            "PREFECT_API_URL": self.api,
            "PREFECT_API_AUTH_STRING": self.login,
            "MLFLOW_TRACKING_URI": self.tracking,
            "MLFLOW_TRACKING_USERNAME": name,
            "MLFLOW_TRACKING_PASSWORD": password,
        }

    def environment(self, **more: str) -> dict[str, str]:
        clean = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PREFECT_API_", "MLFLOW_TRACKING_"))
            and name != "PREFECT_LOGGING_LEVEL"
        }
        # A worker would ask for runs every ten seconds.
        own = {"AUTOPRUNE_HOME": str(self.folder / "state"), "PREFECT_WORKER_QUERY_SECONDS": "1"}
        return clean | own | more

    def autoprune(self, *words: str, **more: str) -> "subprocess.CompletedProcess[str]":
        """Run a command of the same state folder to its end."""
        return subprocess.run(
            [*AUTOPRUNE, *words],
            cwd=self.folder,
            env=self.environment(**more),
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
            check=False,
        )

    def up(self, *words: str, **more: str) -> "subprocess.CompletedProcess[str]":
        """Run ``up`` once more with the same ports."""
        ports = ("--prefect-port", str(self.prefect), "--mlflow-port", str(self.mlflow))
        return self.autoprune("up", *ports, *words, **more)
