"""The self-check says what holds, and sees it when a wall is gone."""

import docker
import pytest

from sandbox import engine
from sandbox.preflight import preflight

pytestmark = [pytest.mark.docker, pytest.mark.slow]


def test_every_wall_holds_here() -> None:
    checks = preflight("bind")
    assert [check for check in checks if not check.ok] == []
    assert {check.name for check in checks} >= {
        "network", "capabilities", "privileges", "system calls", "other calls", "huge pages",
        "crash handler", "terminals", "user", "disk", "broker", "processes", "memory limit",
    }  # fmt: skip


def test_walls_that_are_gone_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container with Docker's defaults in place of ours."""
    make = docker.APIClient.create_host_config

    def weak(self: docker.APIClient, **options: object) -> object:
        options.update(
            read_only=False, cap_drop=None, ulimits=None, network_mode="bridge", tmpfs=None
        )
        options["security_opt"] = ["seccomp=unconfined"]
        return make(self, **options)

    monkeypatch.setattr(docker.APIClient, "create_host_config", weak)
    monkeypatch.setattr(engine, "USER", "0:0")
    monkeypatch.setattr(engine, "MASKED", ())
    seen = {check.name: check.ok for check in preflight("bind")}
    walls = {"capabilities", "privileges", "other calls", "crash handler", "terminals", "user"}
    walls |= {"disk"}
    assert {name for name in walls if seen.get(name, True)} == set()
