"""What is asked of the daemon for GPUs and other runtimes; machines with either are rare."""

from pathlib import Path

import pytest

from sandbox.client import Sandbox
from sandbox.engine import ContainerEngine
from sandbox.errors import SandboxUnavailableError
from sandbox.image import ensure_image
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
