"""A Docker Engine of the test's own, killed and started again while candidates are at work."""

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sandbox.client import Sandbox
from sandbox.engine import ContainerEngine
from sandbox.errors import SandboxError
from sandbox.limits import Limits
from sandbox.outcomes import Accepted
from tests.support.jobs_in_containers import containers, job_is_there, running
from tests.support.prefect_stack import until

pytestmark = [pytest.mark.docker, pytest.mark.slow]

ABS = "def score(W, stats, params):\n    return W.abs()\n"
SLOW = "import time\ndef score(W, stats, params):\n    time.sleep(20)\n    return W.abs()\n"
RUN = "restart"


class Daemon:
    """A second engine with its own state, socket and no network."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._log = (folder / "log").open("ab")
        self.url = f"unix://{folder / 's'}"

    def start(self) -> None:
        """Start and wait until it answers."""
        command = ["dockerd", "-H", self.url, "--bridge=none", "--iptables=false"]
        for option in ("data-root", "exec-root", "pidfile"):
            command.append(f"--{option}={self._folder / option}")
        self._process = subprocess.Popen(
            command, stdout=self._log, stderr=self._log, start_new_session=True
        )
        for _ in range(600):
            with contextlib.suppress(SandboxError):
                ContainerEngine().close()
                return
            if self._process.poll() is not None:
                break
            time.sleep(0.2)
        shown = (self._folder / "log").read_text(encoding="utf-8", errors="replace")[-500:]
        pytest.skip(f"a second daemon does not start here: {shown}")

    def kill(self) -> None:
        """End it without a chance to tidy up; its containers live on."""
        self._process.kill()
        self._process.wait()

    def end_and_start(self) -> None:
        """An ordinary restart; waiting containers are killed by it."""
        self._process.terminate()
        self._process.wait(120)
        self.start()

    def end(self) -> None:
        """Stop it, and with it what it runs."""
        self._process.terminate()
        self._process.wait(120)
        self._log.close()
        mounts = Path("/proc/mounts").read_text(encoding="utf-8").splitlines()
        for place in reversed([line.split()[1] for line in mounts]):
            if place.startswith(str(self._folder)):
                subprocess.run(["umount", "-l", place], check=True)


@pytest.fixture
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    if os.geteuid() != 0 or shutil.which("dockerd") is None:
        pytest.skip("a second daemon needs root and dockerd")
    # Short: the name of a socket may have a hundred characters.
    folder = Path(tmp_path_factory.mktemp("d"))
    made = Daemon(folder)
    old = os.environ.get("DOCKER_HOST")
    os.environ["DOCKER_HOST"] = made.url
    try:
        made.start()
        yield made
        made.end()
    finally:
        if old is None:
            del os.environ["DOCKER_HOST"]
        else:
            os.environ["DOCKER_HOST"] = old
        shutil.rmtree(folder, ignore_errors=True)


def test_a_daemon_killed_in_a_job_and_restarted_between_jobs(
    daemon: Daemon, layer_folder: Path
) -> None:
    limits = Limits(warm=2, probe_s=30)
    box = Sandbox(inputs=layer_folder, image="bind", limits=limits, run_id=RUN, screening=False)
    with box, ThreadPoolExecutor(1) as threads:
        assert isinstance(box.probe(ABS), Accepted)
        until(lambda: len(running(RUN)) >= 2, 60, "containers that wait")
        # Restarted while containers wait: they are dead, which is not the next candidate's fault.
        daemon.end_and_start()
        assert running(RUN) == []
        assert isinstance(box.probe(ABS), Accepted)
        # Killed in the middle of a job: an exception that says what to do, never a verdict.
        until(lambda: not job_is_there(layer_folder), 60, "end of the job before")
        job = threads.submit(box.probe, SLOW)
        until(lambda: job_is_there(layer_folder), 60, "job")
        daemon.kill()
        with pytest.raises(SandboxError, match="Docker"):
            job.result(timeout=60)
        daemon.start()
        # The same run goes on with what it has.
        assert isinstance(box.probe(ABS), Accepted)
    # Also what could neither be finished nor removed while the daemon was away.
    assert containers(RUN) == []
