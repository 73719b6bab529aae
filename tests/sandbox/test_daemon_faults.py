"""A Docker Engine that goes away: played by a relay in front of the real one, which can be cut."""

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sandbox.client import Sandbox
from sandbox.engine import ContainerEngine
from sandbox.errors import SandboxError, SandboxUnavailableError
from sandbox.limits import Limits
from sandbox.outcomes import Accepted
from sandbox.ownership import LABEL_OWNER, LABEL_RUN, this_process
from sandbox.reaper import reap_orphans
from tests.support.jobs_in_containers import job_is_there, running
from tests.support.prefect_stack import until

pytestmark = pytest.mark.docker

ABS = "def score(W, stats, params):\n    return W.abs()\n"
SLOW = "import time\ndef score(W, stats, params):\n    time.sleep(1)\n    return W.abs()\n"


class Relay:
    """Forwards a unix socket to the real daemon until it is cut; may also stay mute."""

    def __init__(self, path: Path, *, mute: bool = False) -> None:
        self._real = "/var/run/docker.sock"
        self._mute = mute
        self._streams: list[socket.socket] = []
        self._path = path
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"unix://{self._path}"

    def cut(self) -> None:
        """Close every connection and take no more."""
        self._path.unlink(missing_ok=True)
        for stream in [self._listener, *self._streams]:
            try:
                stream.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
            finally:
                stream.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            self._streams.append(near)
            if self._mute:
                continue
            far = socket.socket(socket.AF_UNIX)
            far.connect(self._real)
            self._streams.append(far)
            for source, target in ((near, far), (far, near)):
                threading.Thread(target=_pump, args=(source, target), daemon=True).start()


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        return


@pytest.fixture
def relay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Relay]:
    relay = Relay(tmp_path / "docker.sock")
    monkeypatch.setenv("DOCKER_HOST", relay.url)
    yield relay
    relay.cut()
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    engine = ContainerEngine()
    remove_own(engine)
    engine.close()


def remove_own(engine: ContainerEngine) -> None:
    """Remove every container that this process still has."""
    for info in engine.list(f"{LABEL_OWNER}={this_process()}"):
        engine.remove(info["Id"])


def make_box(folder: Path, run_id: str) -> Sandbox:
    limits = Limits(warm=1, probe_s=20)
    return Sandbox(inputs=folder, image="bind", run_id=run_id, limits=limits, screening=False)


@pytest.mark.parametrize("moment", ["waiting", "during the job"])
def test_a_daemon_that_dies_stops_the_work_cleanly(
    moment: str, relay: Relay, layer_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = f"daemon-{moment.split()[0]}"
    with make_box(layer_folder, run_id) as box, ThreadPoolExecutor(1) as threads:
        assert isinstance(box.probe(ABS), Accepted)
        until(lambda: not job_is_there(layer_folder), 60, "end of the job before")
        if moment == "waiting":
            relay.cut()
        job = threads.submit(box.probe, SLOW)
        if moment != "waiting":
            until(lambda: job_is_there(layer_folder), 60, "job")
            relay.cut()
        with pytest.raises(SandboxError, match="Docker"):
            job.result(timeout=60)
    # The daemon is back: what the run could not remove has ended by itself and is reaped.
    monkeypatch.delenv("DOCKER_HOST")
    until(lambda: not running(run_id), 60, "end of its containers")
    engine = ContainerEngine()
    remove_own(engine)
    reap_orphans(engine, layer_folder)
    assert engine.list(f"{LABEL_RUN}={run_id}") == []
    engine.close()
    with make_box(layer_folder, run_id) as box:
        assert isinstance(box.probe(ABS), Accepted)


def test_a_mute_daemon_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sandbox.engine.CALL_TIMEOUT_S", 1)
    relay = Relay(tmp_path / "mute.sock", mute=True)
    monkeypatch.setenv("DOCKER_HOST", relay.url)
    # It never answers: the call comes back because it was given up.
    with pytest.raises(SandboxUnavailableError, match="no Docker Engine answers"):
        ContainerEngine()
    relay.cut()
