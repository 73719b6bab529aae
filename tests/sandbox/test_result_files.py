"""Scores that are not copied: nobody may change them later, and no file is used again too early."""

import ctypes
import mmap
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from sandbox.client import Sandbox
from sandbox.container import MAPPED_BYTES, LayerInput
from sandbox.errors import SandboxBrokenError
from sandbox.exchange import Exchange, Workspace
from sandbox.first_process import FirstProcess
from sandbox.limits import Limits
from sandbox.outcomes import Accepted, Rejected
from sandbox.ownership import this_process

COUNT = 1 << 16


def written(workspace: Workspace, value: int) -> Exchange:
    exchange = Exchange(workspace)
    exchange.prepare([], 4 * COUNT)
    exchange.result.write_bytes(np.full(COUNT, value, np.float32).tobytes())
    return exchange


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    made = Workspace(tmp_path, this_process())
    yield made
    made.close()


def test_mapped_scores_may_be_changed_and_the_file_stays_as_it_was(workspace: Workspace) -> None:
    exchange = written(workspace, 3)
    scores = exchange.map_result(COUNT)
    assert scores is not None
    scores *= 2
    assert scores.min() == scores.max() == 6
    assert np.fromfile(exchange.result, np.float32).max() == 3


def test_a_file_comes_back_only_when_its_last_array_is_gone(workspace: Workspace) -> None:
    exchange = written(workspace, 3)
    path = exchange.result
    scores = exchange.map_result(COUNT)
    assert scores is not None
    part = scores[5:7]
    exchange.close(container_gone=True)
    del scores
    other = written(workspace, 4)
    assert other.result != path
    assert part.tolist() == [3, 3]
    other.close(container_gone=True)
    del part
    paths = {Exchange(workspace).result for _ in range(4)}
    assert path in paths
    assert path.read_bytes() == bytes(4 * COUNT)


def test_scores_outlive_their_sandbox(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, this_process())
    exchange = written(workspace, 3)
    scores = exchange.map_result(COUNT)
    exchange.close(container_gone=True)
    workspace.close()
    assert not exchange.result.exists()
    assert scores is not None
    assert scores.sum() == 3 * COUNT


def test_a_cut_file_is_not_mapped(workspace: Workspace) -> None:
    exchange = written(workspace, 3)
    os.truncate(exchange.result, 4 * COUNT - 1)
    assert exchange.map_result(COUNT) is None


def test_the_length_of_a_used_file_tells_nothing(workspace: Workspace) -> None:
    exchange = written(workspace, 3)
    path = exchange.result
    os.truncate(path, 12)
    with path.open("r+b") as file:
        # Blocks without length, as a candidate can ask for them.
        keep_size, sizes = 1, (ctypes.c_long(0), ctypes.c_long(4 * COUNT))
        if ctypes.CDLL(None).fallocate(file.fileno(), keep_size, *sizes) != 0:
            pytest.skip("this file system does not take blocks ahead")
    exchange.close(container_gone=True)
    others = [Exchange(workspace) for _ in range(4)]
    assert path in {other.result for other in others}
    assert path.read_bytes() == bytes(4 * COUNT)


def test_the_first_process_is_known_by_its_container_and_waited_for() -> None:
    child = subprocess.Popen(["sleep", "60"])
    try:
        group = Path(f"/proc/{child.pid}/cgroup").read_text(encoding="utf-8").strip()[-12:]
        assert FirstProcess.of("0123456789abcdef-no-such-container", child.pid) is None
        assert FirstProcess.of(group, 0) is None
        process = FirstProcess.of(group, child.pid)
        assert process is not None
        assert not process.wait(0.05)
        child.kill()
        assert process.wait(10)
        process.close()
    finally:
        child.kill()
        child.wait()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with 2 MiB and 16 files."""
    folder = tmp_path / "disk"
    folder.mkdir()
    options = "size=2m,nr_inodes=16,mode=0777"
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_an_error_and_nothing_stays(small_disk: Path) -> None:
    workspace = Workspace(small_disk, this_process(), results=small_disk)
    exchange = Exchange(workspace)
    with pytest.raises(SandboxBrokenError, match="free some"):
        exchange.prepare([], 3 << 20)
    exchange.prepare([], 1 << 20)
    exchange.close(container_gone=True)
    for number in range(32):
        try:
            (small_disk / f"{number}").write_bytes(b"")
        except OSError:
            break
    with pytest.raises(SandboxBrokenError, match="free some disk"):
        for _ in range(32):
            Exchange(workspace)
    workspace.close()
    assert list(small_disk.glob(".autoprune-cells-*")) == []


def owner(array: object) -> object:
    """Who owns the memory of an array."""
    while (below := getattr(array, "base", None)) is not None:
        array = below
    return array.obj if isinstance(array, memoryview) else array


LARGE = (3000, 3000)
CUT_LATER = """
import os
def score(W, stats, params):
    if os.fork() == 0:
        import time
        for _ in range(400):
            try: os.ftruncate(4, 0)
            except OSError: pass
            time.sleep(0.005)
        os._exit(0)
    return W.abs()
"""


@pytest.mark.docker
def test_large_results_are_mapped_and_cannot_be_cut_under_the_reader(tmp_path: Path) -> None:
    assert 4 * LARGE[0] * LARGE[1] > MAPPED_BYTES
    weight = np.random.default_rng(0).standard_normal(LARGE).astype(np.float32)
    file = tmp_path / "layer.safetensors"
    save_file({"W": weight, "x_norm": np.ones(LARGE[1], np.float32)}, file)
    file.chmod(0o444)
    layers = [LayerInput(file, LARGE)]
    limits = Limits(warm=1, score_s=60, syscall_filter=False)
    with Sandbox(inputs=tmp_path, image="bind", limits=limits, screening=False) as box:
        honest = box.score("def score(W, stats, params): return W.abs()", layers)
        assert isinstance(honest, Accepted), honest
        assert isinstance(owner(honest.scores[0]), mmap.mmap)
        hostile = box.score(CUT_LATER, layers)
        assert isinstance(hostile, Rejected)
        assert hostile.code in ("leftover_processes", "protocol")
    np.testing.assert_array_equal(honest.scores[0], np.abs(weight))
