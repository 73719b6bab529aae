"""A running ``autoprune up`` of the tests, and commands beside it."""

import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

START_SECONDS = 180.0
STOP_SECONDS = 60.0


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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

    def environment(self, **more: str) -> dict[str, str]:
        clean = {
            name: value
            for name, value in os.environ.items()
            if name not in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI", "PREFECT_LOGGING_LEVEL")
        }
        return clean | {"AUTOPRUNE_HOME": str(self.folder / "state")} | more

    def autoprune(self, *words: str, **more: str) -> "subprocess.CompletedProcess[str]":
        """Run a command of the same state folder to its end."""
        return subprocess.run(
            [sys.executable, "-m", "flows.cli", *words],
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
