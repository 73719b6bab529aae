"""The sandbox as its users see it, against real Docker: results, retries, and nothing left over."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from sandbox.client import Sandbox
from sandbox.codes import Code
from sandbox.container import LayerInput
from sandbox.engine import ContainerEngine
from sandbox.errors import SandboxBrokenError, SandboxError, SandboxUnavailableError
from sandbox.exchange import OWNER_FILE
from sandbox.limits import Limits
from sandbox.outcomes import Accepted, Rejected
from sandbox.ownership import LABEL_RUN, this_process
from sandbox.processors import ContainerTime
from sandbox.reaper import reap_orphans
from tests.support.jobs_in_containers import containers, job_is_there, running
from tests.support.prefect_stack import until

pytestmark = pytest.mark.docker

RIA = """
import torch

def score(W, stats, params):
    m = W.abs()
    relative = m / m.sum(0, keepdim=True) + m / m.sum(1, keepdim=True)
    return relative * stats["x_norm"] ** params.get("a", 0.5)
"""
# In its first call; a probe makes more than ten.
SLOW = """
import time
slept = []
def score(W, stats, params):
    if not slept:
        slept.append(time.sleep(2))
    return W.abs()
"""


def on_host(source: str, file: Path, params: dict[str, float]) -> np.ndarray:
    """The same trusted source in this process."""
    namespace: dict[str, Callable[..., torch.Tensor]] = {}
    exec(source, namespace)
    tensors = load_file(file)
    return namespace["score"](tensors.pop("W"), tensors, params).numpy()


def test_constants_must_be_finite_numbers(box: Sandbox, layers: list[LayerInput]) -> None:
    for value in (float("nan"), float("inf"), 10**400):
        for answer in (box.probe(RIA, {"a": value}), box.score(RIA, layers, {"a": value})):
            assert isinstance(answer, Rejected) and answer.code is Code.BAD_PARAMS, value
    assert isinstance(box.probe(RIA, {"a": 1}), Accepted)


@pytest.mark.parametrize("params", [{}, {"a": 0.3}])
def test_scores_equal_the_host_to_the_bit(
    box: Sandbox, layers: list[LayerInput], params: dict[str, float]
) -> None:
    outcome = box.score(RIA, layers, params, repeat=True, check_inputs=True)
    assert isinstance(outcome, Accepted), outcome
    assert outcome.image == box.image.tag
    for layer, scores in zip(layers, outcome.scores, strict=True):
        assert scores.dtype == np.float32
        np.testing.assert_array_equal(scores, on_host(RIA, layer.file, params))


def test_a_layer_alone_scores_as_in_a_batch(box: Sandbox, layers: list[LayerInput]) -> None:
    batch = box.score(RIA, layers)
    assert isinstance(batch, Accepted)
    alone = box.score(RIA, [layers[3]])
    assert isinstance(alone, Accepted)
    np.testing.assert_array_equal(alone.scores[0], batch.scores[3])


def test_probe_accepts_honest_code(box: Sandbox) -> None:
    outcome = box.probe(RIA)
    assert isinstance(outcome, Accepted), outcome
    assert len(outcome.scores) == 3
    assert 0 < outcome.seconds < 20


def test_refusals_carry_line_and_remedy(box: Sandbox) -> None:
    refused = box.probe("import torch\n\ndef score(W, stats, params):\n    return W @ W\n")
    assert isinstance(refused, Rejected)
    assert refused.code is Code.EXCEPTION
    assert refused.detail.startswith("line 4: RuntimeError: mat1 and mat2 shapes")
    refused = box.probe("def score(W, stats, params):\n    return W.double()\n")
    assert isinstance(refused, Rejected)
    assert refused.code is Code.WRONG_DTYPE
    assert "torch.float32" in refused.detail


def test_the_screen_answers_without_a_container(
    box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(type(box._pool), "take")
    refused = box.probe("import os\n" + RIA)
    assert isinstance(refused, Rejected)
    assert refused.code is Code.SCREEN_IMPORT


def test_random_scores_pass_once_and_fail_when_repeated(
    box: Sandbox, layers: list[LayerInput]
) -> None:
    source = "import torch\ndef score(W, stats, params):\n    return torch.rand_like(W)\n"
    assert isinstance(box.score(source, layers[:1]), Accepted)
    refused = box.score(source, layers[:2], repeat=True)
    assert isinstance(refused, Rejected)
    assert refused.code is Code.NONDETERMINISTIC


def test_memory_grows_with_the_input(tmp_path: Path) -> None:
    # The base memory alone is too little for what the metric holds at once.
    rows, columns = 3000, 3000
    file = tmp_path / "big.safetensors"
    save_file({"W": torch.randn(rows, columns), "x_norm": torch.rand(columns)}, file)
    file.chmod(0o444)
    limits = Limits(warm=0, score_s=60, memory_bytes=256 << 20)
    with Sandbox(inputs=tmp_path, image="bind", limits=limits) as box:
        outcome = box.score(RIA, [LayerInput(file, (rows, columns))])
    assert isinstance(outcome, Accepted), outcome
    np.testing.assert_allclose(outcome.scores[0], on_host(RIA, file, {}), rtol=1e-6)


def test_a_missing_layer_file_is_a_broken_sandbox(box: Sandbox, layers: list[LayerInput]) -> None:
    with pytest.raises(SandboxBrokenError, match="hand over"):
        box.score(RIA, [LayerInput(layers[0].file.with_name("absent"), (2, 2))])
    assert isinstance(box.score(RIA, layers[:1]), Accepted)


def test_twenty_clients_of_two_searches_do_not_collide(
    layer_folder: Path, layers: list[LayerInput]
) -> None:
    limits = Limits(probe_s=60, score_s=60, jobs_at_once=2, warm=1)
    most, engine = [0], ContainerEngine()
    with (
        Sandbox(inputs=layer_folder, image="bind", limits=limits, run_id="threads") as one,
        Sandbox(inputs=layer_folder, image="bind", limits=limits, run_id="threads") as two,
        ThreadPoolExecutor(20) as threads,
    ):
        jobs = [
            threads.submit((one, two)[i % 2].score, RIA, [layers[i % len(layers)]], {"a": i / 20})
            for i in range(20)
        ]
        while not all(job.done() for job in jobs):
            most.append(len(engine.list(f"{LABEL_RUN}=threads")))
            time.sleep(0.2)
        outcomes = [job.result() for job in jobs]
    engine.close()
    # Each gets its own numbers: its layer and its constant, nobody else's.
    for i, outcome in enumerate(outcomes):
        assert isinstance(outcome, Accepted), outcome
        expected = on_host(RIA, layers[i % len(layers)].file, {"a": i / 20})
        np.testing.assert_array_equal(outcome.scores[0], expected)
    # Two jobs at once and one waiting for each search; the rest are on their way out.
    assert max(most) <= 12
    assert containers("threads") == []


@contextmanager
def open_box(folder: Path, run_id: str) -> Iterator[Sandbox]:
    limits = Limits(probe_s=30, score_s=30, warm=1)
    with Sandbox(
        inputs=folder, image="bind", limits=limits, run_id=run_id, screening=False
    ) as sandbox:
        yield sandbox


def test_a_container_removed_from_outside_is_replaced(layer_folder: Path) -> None:
    with open_box(layer_folder, "removed") as box, ThreadPoolExecutor(1) as threads:
        box.probe(RIA)
        # What was used is gone, and what is there waits for the next job.
        until(
            lambda: (
                box._pool._ready and len(running("removed")) == 1 and not job_is_there(layer_folder)
            ),
            60,
            "container that waits",
        )
        waiting = running("removed")
        job = threads.submit(box.probe, SLOW)
        until(lambda: job_is_there(layer_folder), 60, "job")
        engine = ContainerEngine()
        assert any(engine.remove(container) for container in waiting)
        engine.close()
        assert isinstance(job.result(), Accepted)


def test_a_machine_that_kills_every_container_is_broken(layer_folder: Path) -> None:
    stop = threading.Event()

    def reap() -> None:
        engine = ContainerEngine()
        while not stop.is_set():
            for info in engine.list(f"{LABEL_RUN}=reaped"):
                if info["State"] == "running":
                    engine.remove(info["Id"])
            time.sleep(0.2)
        engine.close()

    with open_box(layer_folder, "reaped") as box:
        thread = threading.Thread(target=reap)
        thread.start()
        try:
            with pytest.raises(SandboxError) as caught:
                box.probe(SLOW)
        finally:
            stop.set()
            thread.join()
    assert caught.value.exit_code in (1, 4)
    assert containers("reaped") == []


CLIENT = """
import sys
from pathlib import Path
from sandbox.client import Sandbox
from sandbox.limits import Limits
print("begin", flush=True)
box = Sandbox(
    inputs=Path(sys.argv[1]), image="bind", run_id="orphan", screening=False, limits=Limits(warm=1)
)
with box:
    box.probe("def score(W, stats, params): return W.abs()")
    print("ready", flush=True)
    box.probe("def score(W, stats, params):\\n    while True: pass")
"""


def assert_all_ended(run: str, folder: Path) -> None:
    """Containers of a client that is gone end by themselves; the reaper removes what is left."""
    # No reaper has run: the containers end because their client is gone.
    until(lambda: not running(run), 90, "end of the containers")
    engine = ContainerEngine()
    # What was created and never started has no process; the next run removes it.
    reap_orphans(engine, folder)
    assert engine.list(f"{LABEL_RUN}={run}") == []
    engine.close()
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGINT])
def test_nothing_outlives_a_killed_client(kill: signal.Signals, tmp_path: Path) -> None:
    client = subprocess.Popen(
        [sys.executable, "-c", CLIENT, str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert client.stdout is not None
    assert [client.stdout.readline() for _ in range(2)] == ["begin\n", "ready\n"]
    until(lambda: job_is_there(tmp_path), 60, "second job")
    client.send_signal(kill)
    client.wait(timeout=60)
    assert_all_ended("orphan", tmp_path)


def test_a_client_killed_at_any_stage_leaves_nothing_running(tmp_path: Path) -> None:
    """Connecting, making the first container, waiting for torch, in the first job, in the next."""
    clients = []
    for _ in range(5):
        client = subprocess.Popen(
            [sys.executable, "-c", CLIENT.replace('"orphan"', '"stages"'), str(tmp_path)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert client.stdout is not None
        assert client.stdout.readline() == "begin\n"
        clients.append(client)
    for client, seconds in zip(clients, (0.0, 0.2, 0.4, 0.8, 1.6), strict=True):
        time.sleep(seconds)
        client.kill()
        client.wait()
    assert_all_ended("stages", tmp_path)


def test_the_reaper_leaves_living_runs_alone(box: Sandbox, layers: list[LayerInput]) -> None:
    until(lambda: box._pool._ready, 60, "container that waits")
    waiting = box._pool._ready[0]
    engine = ContainerEngine()
    reap_orphans(engine, layers[0].file.parent)
    # A job would be given to another one if this had been removed.
    assert engine.state(waiting.id).running
    engine.close()
    assert isinstance(box.score(RIA, layers[:1]), Accepted)


def test_the_time_of_its_containers_belongs_to_a_process(box: Sandbox) -> None:
    # One that waits for its job has imported torch.
    until(lambda: box._pool._ready, 60, "container that waits")
    found = ContainerTime()
    used = found.look({os.getpid()})
    assert used > 0.2 and found.look({os.getpid()}) >= used
    assert ContainerTime().look({1}) == 0.0


def test_closing_leaves_nothing(tmp_path: Path) -> None:
    def memory_folders() -> set[str]:
        # Other processes of this machine have some of their own.
        found = Path("/dev/shm").glob(f".autoprune-cells-*/{OWNER_FILE}")
        return {str(path) for path in found if path.read_text("utf-8") == this_process()}

    before = memory_folders()
    with Sandbox(inputs=tmp_path, image="bind", run_id="closing") as sandbox:
        sandbox.probe(RIA)
        assert len(list(tmp_path.iterdir())) == 1
    sandbox.close()
    assert containers("closing") == []
    assert list(tmp_path.iterdir()) == []
    assert memory_folders() <= before


@pytest.mark.parametrize(
    ("host", "says"),
    [
        ("tcp://192.0.2.1:2375", "another machine"),
        ("unix:///nonexistent/docker.sock", "no Docker Engine answers"),
    ],
)
def test_without_a_local_daemon_the_next_step_is_named(
    host: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", host)
    with pytest.raises(SandboxUnavailableError, match=says) as caught:
        Sandbox(inputs=tmp_path).__enter__()
    assert caught.value.exit_code == 4
    assert list(tmp_path.iterdir()) == []


def test_the_flags_of_a_container(box: Sandbox) -> None:
    # The one that waits for the next job, not one that is being removed.
    until(lambda: box._pool._ready, 60, "container that waits")
    engine = ContainerEngine()
    info = engine.api.inspect_container(box._pool._ready[0].id)
    engine.close()
    host = info["HostConfig"]
    assert host["NetworkMode"] == "none"
    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"]
    assert not host["CapAdd"] and not host["Privileged"] and not host["Devices"]
    options = dict(option.partition("=")[::2] for option in host["SecurityOpt"])
    assert set(options) == {"no-new-privileges", "seccomp"}
    assert json.loads(options["seccomp"])["defaultAction"] == "SCMP_ACT_ERRNO"
    assert host["Ulimits"][0] == {"Name": "core", "Hard": 1, "Soft": 1}
    assert host["IpcMode"] == "none"
    assert host["LogConfig"]["Type"] == "none"
    assert 0 < host["PidsLimit"] <= 64
    assert host["NanoCpus"] == 10**9
    assert host["Memory"] == host["MemorySwap"] > 0
    assert info["Config"]["User"] == "65534:65534"
    assert info["Config"]["StopSignal"] == "SIGKILL"
    writable = [mount["Destination"] for mount in info["Mounts"] if mount["RW"]]
    assert sorted(writable) == ["/out/scores"]
    names = {entry.partition("=")[0] for entry in info["Config"]["Env"]}
    assert not {name for name in names if "PROXY" in name.upper() or "KEY" in name}
    assert os.environ.get("HOME", "") not in "".join(info["Config"]["Env"])
