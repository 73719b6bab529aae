"""``compose.yaml``: Docker's own reader accepts it, and nothing is open or guessable by default."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent.parent
FILE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))


def test_services_stores_and_order() -> None:
    services = FILE["services"]
    assert {"postgres", "prefect", "mlflow", "worker"} <= set(services)
    assert set(FILE["volumes"]) == {"postgres", "prefect", "artifacts"}
    for name in ("postgres", "prefect", "mlflow"):
        assert services[name]["healthcheck"]["test"]
    assert set(services["worker"]["depends_on"]) == {"prefect", "mlflow"}
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert ports and all(port.startswith("${AUTOPRUNE_BIND:-127.0.0.1}:") for port in ports)


def test_the_password_and_what_is_large_are_not_copied_into_the_image() -> None:
    left_out = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert {".git", ".venv", ".autoprune", "**/.env*", "benchmarks/out"} <= set(left_out)


@pytest.mark.docker
def test_docker_reads_it_and_asks_for_a_password() -> None:
    if shutil.which("docker") is None or _compose("version").returncode != 0:
        pytest.skip("the compose plugin is not installed")
    accepted = _compose("config", POSTGRES_PASSWORD="chosen")
    assert accepted.returncode == 0, accepted.stderr
    assert "postgresql+asyncpg://autoprune:chosen@postgres:5432/prefect" in accepted.stdout
    refused = _compose("config", POSTGRES_PASSWORD="")
    assert refused.returncode != 0 and "choose one and keep it in .env" in refused.stderr


def _compose(*words: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["docker", "compose", *words],
        cwd=ROOT,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
