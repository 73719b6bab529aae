"""Accelerators: fake tensors show on any machine what meets where; a GPU shows the rest."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)
from torch.overrides import TorchFunctionMode

from autoprune import Bench
from autoprune.allocation import ModelContext, build_allocator
from autoprune.allocation.shape import skewness, spectrum
from autoprune.bench.behaviour import _energy
from autoprune.evaluation.kl import divergences
from autoprune.evaluation.perplexity import window_loss
from autoprune.metrics import build_metric
from autoprune.models.structure import PrunableLinear, prunable_linears
from autoprune.pruning import MetricScore, PruningPlan, repair_layer
from autoprune.pruning import prune as prune_model
from autoprune.repair import REPAIRS, LayerRepair, Repair
from autoprune.repair.alps import Alps
from autoprune.schemes.seam import _Sums
from autoprune.schemes.skip import ratios
from autoprune.statistics.statistics import ALL, collect_statistics
from tests.support.pruned import block_by_block, repaired_model
from tests.support.tiny_models import random_windows, tiny_model
from tests.support.tiny_subject import tiny_place

SHAPE = (6, 8)
LAYER_REPAIRS = [name for name, _ in REPAIRS.items() if name not in ("walk", "ebft")]


class Halve(LayerRepair):
    """A repair that reads no statistics and no value, as fake tensors have none."""

    NAME = "halve"

    def solve(self, problem: Any) -> tuple[Tensor, Tensor]:
        return problem.weight * problem.keep / 2, problem.keep


class Matrix(PrunableLinear):
    """Keeps what is written aside: a fake accelerator cannot be written to in place."""

    def write(self, weight: Tensor) -> None:
        self.owner.written = weight


class Float64(TorchFunctionMode):
    """Counts float64 tensors, and fails where one would lie on Apple's device, which has none."""

    made = 0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        for value in found if isinstance(found, tuple) else (found,):
            if isinstance(value, Tensor) and value.dtype == torch.float64:
                assert value.device.type != "mps", f"{func} makes float64 on mps"
                self.made += 1
        return found


@pytest.fixture
def fake() -> Iterator[None]:
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield


def matrix(device: str) -> Matrix:
    owner = nn.Module()
    owner.weight = nn.Parameter(torch.empty(SHAPE, device=device), requires_grad=False)
    return Matrix("m", 0, "m", SHAPE, "m.weight", owner, "weight")


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize("repair", ["none", "halve"])
def test_masks_in_main_memory_are_repaired_on_an_accelerator(repair: str) -> None:
    layer = matrix("cuda")
    assert layer.read().device.type == "cuda"
    keep = torch.ones(SHAPE, dtype=torch.bool)
    plan = (
        PruningPlan.build(0.5) if repair == "none" else PruningPlan(0.5, repair=Repair((Halve(),)))
    )
    final, notes = repair_layer(layer, keep, {}, plan)
    assert final.device.type == "cpu" and notes == []


def support(weight: Tensor) -> Any:
    gram = torch.empty(SHAPE[1], SHAPE[1], device=weight.device)
    return Alps()._support(weight, weight > 0, gram, None)


class Norms:
    def of(self, layer_name: str) -> dict[str, Tensor]:
        return {"x_norm": torch.ones(SHAPE[1])}


def loss(weight: Tensor) -> float:
    return window_loss(weight, torch.zeros(len(weight), dtype=torch.int64, device=weight.device))


def distance(weight: Tensor) -> Tensor:
    size = (len(weight), 3)
    ids = torch.zeros(size, dtype=torch.int32, device=weight.device)
    return divergences(weight, ids, torch.empty(size, device=weight.device))


def seam(weight: Tensor) -> Tensor:
    return _Sums.of(weight, weight, weight).solve(0.1)


def allocation(text: str) -> Callable[[Tensor], Any]:
    return lambda _: build_allocator(text).rates(ModelContext([matrix("mps")], Norms()), 0.5)


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize(
    "work",
    [
        skewness,
        spectrum,
        support,
        loss,
        distance,
        seam,
        ratios,
        allocation("owl"),
        allocation("formula:score"),
    ],
)
def test_float64_is_never_asked_of_a_device_without_it(work: Callable[[Tensor], Any]) -> None:
    weight = torch.empty(SHAPE, device="mps")
    with pytest.raises(AssertionError, match="float64 on mps"), Float64():
        weight.double()
    # Fake tensors have no values, so the work ends where it asks for the first one.
    without = (DataDependentOutputException, DynamicOutputShapeException, RuntimeError)
    with Float64() as mode, suppress(*without):
        work(weight)
    assert mode.made


@pytest.mark.usefixtures("fake")
def test_norms_in_main_memory_meet_weights_on_an_accelerator() -> None:
    assert _energy(matrix("cuda").read(), torch.ones(SHAPE[1])).device.type == "cuda"


gpu = pytest.mark.gpu
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@gpu
@needs_cuda
@pytest.mark.parametrize("family", ["llama", "gpt2", "mixtral"])
def test_statistics_and_masks_of_a_gpu_are_those_of_the_cpu(family: str) -> None:
    windows = random_windows(6, 24)
    found = []
    for device in ("cpu", "cuda"):
        model = tiny_model(family).to(device)
        statistics = collect_statistics(model, windows, needs=ALL)
        plan = PruningPlan.build(0.5, allocation="owl")
        score = MetricScore(build_metric("wanda"))
        found.append((statistics, prune_model(model, score, plan, statistics=statistics)))
    (cpu, masks), (cuda, others) = found
    for name, values in cpu.layers.items():
        for stat, value in values.items():
            torch.testing.assert_close(cuda.of(name)[stat], value, rtol=1e-3, atol=1e-4)
    assert others.mask_digest == masks.mask_digest


@gpu
@needs_cuda
@pytest.mark.parametrize(
    "repair", [*LAYER_REPAIRS, "walk:mrp", "ebft:epochs=1", "sparseswaps+mrp+ebft"]
)
def test_every_repair_runs_on_a_gpu(repair: str) -> None:
    weights, outcome = repaired_model("llama", repair, random_windows(6, 24), device="cuda")
    for name, weight in weights.items():
        assert weight.is_cuda and bool(torch.isfinite(weight).all())
        assert not weight[~outcome.keep[name].cuda()].any(), name


@gpu
@needs_cuda
def test_a_bench_validates_on_a_gpu(tmp_path: Path) -> None:
    model, corpus = tiny_place(tmp_path)
    sizes = {"calibration_windows": 2, "selection_windows": 3}
    with Bench.open(model, corpus=corpus, seqlen=32, **sizes) as bench:
        assert bench.layers[0].read().is_cuda
        found = bench.validate("wanda", 0.5)
    assert found.ok and found.reconstruction_error is not None
    assert 0 < found.reconstruction_error < 1


@gpu
@needs_cuda
def test_sequential_pruning_runs_on_a_gpu() -> None:
    plan = PruningPlan.build(None, pattern="2:4", repair="sparseswaps+mrp")
    model = tiny_model("mixtral").to("cuda")
    outcome = block_by_block(model, random_windows(6, 24), build_metric("ria"), plan)
    assert outcome.sparsity == 0.5


@gpu
@needs_cuda
def test_masks_that_were_kept_in_main_memory_are_repaired_on_a_gpu() -> None:
    model = tiny_model("llama").to("cuda")
    layer = prunable_linears(model)[0]
    needs = Repair.parse("mrp").needs
    stats = collect_statistics(model, random_windows(6, 24), needs=needs).of(layer.name)
    keep = torch.rand(layer.shape) < 0.5
    final, _ = repair_layer(layer, keep, stats, PruningPlan.build(0.5, repair="mrp"))
    assert torch.equal(final, keep) and torch.equal(layer.read().cpu() != 0, keep)


def test_a_device_can_be_named_and_one_that_is_not_there_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from autoprune.errors import UsageError
    from autoprune.models.device import default_device
    from flows.cli import entry, main

    monkeypatch.setenv(entry.DEVICE_VARIABLE, "cpu")
    assert default_device() == "cpu"
    assert main(["inspect", "any", "--device", "nonsense", "-q"]) == 2
    with pytest.raises(UsageError, match="the device 'nonsense' cannot be used here"):
        default_device()
