"""Real Docker for every test marked ``docker``; skipped with a reason where there is none."""

import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.numpy import save_file

from sandbox.client import Sandbox
from sandbox.container import LayerInput
from sandbox.engine import ContainerEngine
from sandbox.errors import SandboxUnavailableError
from sandbox.limits import Limits
from sandbox.probe_layers import SHAPES, probe_tensors


def _reason_without_docker() -> str:
    try:
        ContainerEngine().close()
    except SandboxUnavailableError as error:
        return str(error)
    return ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip docker tests without a daemon, unless one is required."""
    if not any("docker" in item.keywords for item in items):
        return
    reason = _reason_without_docker()
    if not reason or os.environ.get("AUTOPRUNE_REQUIRE_DOCKER") == "1":
        return
    for item in items:
        if "docker" in item.keywords:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="module", autouse=True)
def bounded_files() -> Iterator[None]:
    """No test here may fill the machine: result files lie in memory."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 << 30, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As many as a container computes with."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def layer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of five layer files with anonymous names."""
    folder = tmp_path_factory.mktemp("layers")
    for number in range(5):
        tensors = probe_tensors(number % len(SHAPES))
        tensors["W"] = tensors["W"] * (number + 1)
        path = folder / f"{number:064x}.safetensors"
        save_file(tensors, path)
        path.chmod(0o444)
    return folder


@pytest.fixture(scope="session")
def layers(layer_folder: Path) -> list[LayerInput]:
    """The layers of ``layer_folder``."""
    files = sorted(layer_folder.glob("*.safetensors"))
    return [LayerInput(file, SHAPES[i % len(SHAPES)]) for i, file in enumerate(files)]


@pytest.fixture(scope="module")
def box(layer_folder: Path) -> Iterator[Sandbox]:
    """A sandbox with short limits, shared by the tests of a module."""
    limits = Limits(probe_s=20, score_s=30, warm=1)
    with Sandbox(inputs=layer_folder, image="bind", limits=limits, run_id="tests") as sandbox:
        yield sandbox
