"""``compose.yaml``: Docker's own reader accepts it, and nothing is open or guessable by default."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.platform.login import AUTH_VARIABLE
from flows.platform.serve import (
    HOSTS_VARIABLE,
    MLFLOW_AUTH_VARIABLE,
    MLFLOW_STORE_VARIABLE,
    PREFECT_AUTH_VARIABLE,
)

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


def test_images_that_are_pulled_are_held_to_a_digest_of_which_one_can_be_chosen() -> None:
    services, digest = FILE["services"], r"@sha256:[0-9a-f]{64}"
    built = FILE["x-image"]["build"]["dockerfile_inline"].splitlines()[0]
    base = re.fullmatch(rf"FROM \$\{{AUTOPRUNE_BASE_IMAGE:-(python:3\.11-slim{digest})\}}", built)
    assert base is not None
    (pulled,) = {s["image"] for s in services.values() if "build" not in s}
    assert re.fullmatch(rf"\$\{{AUTOPRUNE_POSTGRES_IMAGE:-postgres:16{digest}\}}", pulled)
    dockerfile = (ROOT / "sandbox" / "Dockerfile").read_text(encoding="utf-8")
    assert f"ARG BASE_IMAGE={base[1]}\n" in dockerfile
    assert set(re.findall(r"^FROM (\S+)", dockerfile, re.M)) == {"${BASE_IMAGE}"}


def test_both_servers_stand_behind_the_guard_and_ask_for_a_login_that_must_be_set() -> None:
    services = FILE["services"]
    for name, variable in (("prefect", PREFECT_AUTH_VARIABLE), ("mlflow", MLFLOW_AUTH_VARIABLE)):
        words = services[name]["command"].split()
        assert words[:5] == ["python", "-P", "-m", "flows.platform.serve", name]
        environment = services[name]["environment"]
        assert environment[variable].startswith("autoprune:${AUTOPRUNE_PASSWORD:?")
        assert {"prefect", "mlflow"} <= set(environment[HOSTS_VARIABLE].split(","))
    # Other users of the machine read command lines.
    assert not any("PASSWORD" in service.get("command", "") for service in services.values())
    assert "${POSTGRES_PASSWORD}" in services["mlflow"]["environment"][MLFLOW_STORE_VARIABLE]
    worker = services["worker"]["environment"]
    assert worker[AUTH_VARIABLE] == services["prefect"]["environment"][PREFECT_AUTH_VARIABLE]
    assert worker["MLFLOW_TRACKING_PASSWORD"] == "${AUTOPRUNE_PASSWORD}"
    keys = {name for name in services if "OPENAI_API_KEY" in services[name].get("environment", {})}
    assert keys == {"worker", "worker-gpu"}


def test_the_ledger_of_sealed_looks_outlives_the_container_of_the_worker() -> None:
    for name in ("worker", "worker-gpu"):
        service = FILE["services"][name]
        folder, _, file = service["environment"]["AUTOPRUNE_LEDGER"].rpartition("/")
        assert f"{folder}:{folder}" in service["volumes"] and file


def test_the_password_and_what_is_large_are_not_copied_into_the_image() -> None:
    left_out = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert {".git", ".venv", ".autoprune", "**/.env*", "benchmarks/out"} <= set(left_out)


@pytest.mark.docker
def test_docker_reads_it_and_asks_for_a_password() -> None:
    if shutil.which("docker") is None or _compose("version").returncode != 0:
        pytest.skip("the compose plugin is not installed")
    accepted = _compose("config", POSTGRES_PASSWORD="chosen", AUTOPRUNE_PASSWORD="kept")
    assert accepted.returncode == 0, accepted.stderr
    assert "postgresql+asyncpg://autoprune:chosen@postgres:5432/prefect" in accepted.stdout
    assert "PREFECT_API_AUTH_STRING: autoprune:kept" in accepted.stdout
    for given, words in (
        ({"POSTGRES_PASSWORD": "", "AUTOPRUNE_PASSWORD": "kept"}, "choose one and keep it in .env"),
        ({"POSTGRES_PASSWORD": "chosen", "AUTOPRUNE_PASSWORD": ""}, "password of both servers"),
    ):
        refused = _compose("config", **given)
        assert refused.returncode != 0 and words in refused.stderr


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
