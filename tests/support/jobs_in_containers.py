"""What a test sees of a sandbox at work: its containers, and the job that one of them was given."""

from pathlib import Path
from typing import Any

from sandbox.engine import ContainerEngine
from sandbox.ownership import LABEL_RUN


def containers(run: str) -> list[dict[str, Any]]:
    """What the daemon says of every container of a run."""
    engine = ContainerEngine()
    try:
        return engine.list(f"{LABEL_RUN}={run}")
    finally:
        engine.close()


def running(run: str) -> list[str]:
    """Ids of those that run."""
    return [info["Id"] for info in containers(run) if info["State"] == "running"]


def job_is_there(inputs: Path) -> bool:
    """Whether a container has the files of a job, of a sandbox with this folder of inputs."""
    return any(inputs.glob(f".autoprune-cells-*/{'?' * 16}/*"))
