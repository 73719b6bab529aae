"""What is asked of the daemon for GPUs and other runtimes; machines with either are rare."""

from pathlib import Path

import pytest
import requests

from sandbox import client, image
from sandbox.client import Sandbox
from sandbox.engine import ContainerEngine
from sandbox.errors import SandboxError, SandboxUnavailableError
from sandbox.image import ensure_image
from sandbox.image_ref import ImageRef
from sandbox.limits import Limits
from sandbox.preflight import preflight

pytestmark = pytest.mark.docker


def test_an_unknown_runtime_is_refused_with_the_next_step(tmp_path: Path) -> None:
    box = Sandbox(inputs=tmp_path, image="bind", limits=Limits(runtime="no-such-runtime"))
    with pytest.raises(
        SandboxUnavailableError, match=r"no runtime 'no-such-runtime' \(it has .*runc"
    ):
        box.__enter__()
    assert list(tmp_path.iterdir()) == []
    last = preflight("bind", runtime="no-such-runtime")[-1]
    assert not last.ok
    assert "daemon.json" in last.detail


@pytest.mark.parametrize("fault", ["daemon", "disk"])
def test_an_opening_that_fails_leaves_nothing_and_says_what_to_do(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise requests.ReadTimeout("read timed out") if fault == "daemon" else OSError("disk full")

    if fault == "daemon":
        monkeypatch.setattr(ContainerEngine, "list", fail)
    else:
        monkeypatch.setattr(client, "write_probe_layers", fail)
    results = set(Path("/dev/shm").iterdir())
    with (
        pytest.raises(SandboxError, match=r"(timed out|disk full).*the same command"),
        Sandbox(inputs=tmp_path, image="bind", limits=Limits(warm=1)),
    ):
        pass
    assert list(tmp_path.iterdir()) == []
    assert {path for path in Path("/dev/shm").iterdir() if "autoprune" in path.name} <= results


def test_an_image_with_a_base_of_its_own_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str | None] = []
    found, again = ImageRef("dockerfile", "a:1", "1"), ImageRef("dockerfile", "a:1", "2")

    def make(engine: object, kind: str, base: str | None, wheels: object) -> ImageRef:
        made.append(base)
        return again

    monkeypatch.setattr(image, "_find", lambda *_: found)
    monkeypatch.setattr(image, "_make", make)
    engine = ContainerEngine()
    assert ensure_image("dockerfile", engine=engine) == found
    assert ensure_image("dockerfile", engine=engine, base="python:3.12-slim") == again
    assert made == ["python:3.12-slim"]
    engine.close()


@pytest.mark.parametrize("gpus", [(), ("0",), ("1", "GPU-8f6c")])
def test_the_gpu_request_names_devices_and_nothing_more(
    gpus: tuple[str, ...], tmp_path: Path
) -> None:
    engine = ContainerEngine()
    (tmp_path / "result").write_bytes(b"")
    container = engine.create(
        ensure_image("bind", engine=engine),
        Limits(gpus=gpus),
        memory=1 << 30,
        labels={"autoprune.sandbox.run": "gpu"},
        inputs=str(tmp_path),
        result=str(tmp_path / "result"),
    )
    try:
        host = engine.api.inspect_container(container)["HostConfig"]
    finally:
        assert engine.remove(container)
        engine.close()
    requests = host["DeviceRequests"] or []
    assert [request["DeviceIDs"] for request in requests] == ([list(gpus)] if gpus else [])
    assert all(request["Capabilities"] == [["gpu"]] for request in requests)
    assert not host["Privileged"] and not host["Devices"] and host["CapDrop"] == ["ALL"]
