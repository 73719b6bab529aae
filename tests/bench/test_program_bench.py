"""A bench with a runner: programs are validated on three real blocks, measured and remembered."""

from pathlib import Path

import pytest
import torch

from autoprune import Bench, Recipe
from autoprune.bench.block_programs import held_out
from autoprune.bench.mask_memory import MaskMemory
from autoprune.bench.programs import ByProgram
from autoprune.budget import Budget
from autoprune.candidate import CandidateRejectedError
from autoprune.errors import InfiniteActivationError, UsageError
from autoprune.pruning import PruningPlan, prune
from autoprune.recipe import Candidate
from tests.support.given_runner import GivenRunner

HEAD = "from toolbox import topk\n\ndef prune_layer(W, stats, budget, params):\n"
MAGNITUDE = """
from toolbox import topk

def prune_block(block, inputs, targets, budget, params):
    return {n: W * topk(W.abs(), budget[n]) for n, W in block.weights.items()}
"""
WANDA = HEAD + "    return W * topk(W.abs() * stats['x_norm'], budget)\n"
AGAIN = HEAD + "    score = (W * stats['x_norm']).abs()\n    return W * topk(score, budget) + 0.0\n"
WORST = HEAD + "    return W * topk(-W.abs() * stats['x_norm'], budget)\n"


def of(source: str) -> Recipe:
    return Recipe(Candidate("program", source))


@pytest.fixture
def runner(bench: Bench) -> GivenRunner:
    bench.programs = made = GivenRunner()
    return made


def test_a_validation_tells_programs_apart_by_their_weights_and_their_error(
    bench: Bench, runner: GivenRunner
) -> None:
    before = [layer.read().clone() for layer in bench.layers]
    wanda, again, worst, fitted = (
        bench.validate(recipe, 0.5)
        for recipe in (of(WANDA), of(AGAIN), of(WORST), Recipe.parse("program:mrp"))
    )
    assert wanda.ok and wanda.signature == again.signature
    assert len({found.signature for found in (wanda, worst, fitted)}) == 3
    errors = [found.reconstruction_error or 0.0 for found in (fitted, wanda, worst)]
    assert 0 < errors[0] < errors[1] < errors[2]
    # First, middle and last of two blocks are two; each layer is a task of its own.
    assert len(runner.tasks) == 4 * len(bench.layers)
    # A program's statistics are those of the windows that it is not measured on.
    seen = bench.drawn_windows()[:1].numel()
    own = bench.block_probe.blocks[0]
    assert sum(hidden.shape[0] * hidden.shape[1] for hidden in own.unseen.hidden) == seen
    gram = own.stats[own.members[0].name]["gram"]
    assert not torch.allclose(gram, bench.calibrated({"gram"}).of(own.members[0].name)["gram"])
    for layer, weight in zip(bench.layers, before, strict=True):
        assert torch.equal(layer.read(), weight)


def test_a_quick_figure_prunes_with_the_first_windows_alone(
    bench: Bench, runner: GivenRunner
) -> None:
    whole, few = (bench.measure(of(WANDA), 0.5, calibration=n) for n in (None, 1))
    assert few.sparsity == whole.sparsity and few.mask_digest != whole.mask_digest
    ran = len(runner.tasks)
    # Remembered apart from each other.
    assert [bench.measure(of(WANDA), 0.5, calibration=n).nll for n in (None, 1)] == [
        whole.nll,
        few.nll,
    ]
    assert len(runner.tasks) == ran
    bench.masks = MaskMemory()
    bench.windows["calibration"] = bench.drawn_windows()[:1]
    assert bench.measure(of(WANDA), 0.5).nll == few.nll


def test_a_program_is_measured_like_a_metric_and_remembered(
    bench: Bench, runner: GivenRunner
) -> None:
    found = bench.measure(of(WANDA), 0.5)
    assert found.nll == bench.measure("wanda+sequential", 0.5).nll
    scaled = of(WANDA.replace("W * topk", "1.5 * W * topk"))
    assert bench.measure(of(AGAIN), 0.5).mask_digest == found.mask_digest
    assert bench.measure(scaled, 0.5).mask_digest != found.mask_digest
    ran = len(runner.tasks)
    assert bench.measure(of(WANDA), 0.5).nll == found.nll
    assert len(runner.tasks) == ran
    with bench.pruned("program:sparsegpt+ramp+ebft", 0.5) as outcome:
        assert outcome.zeros == bench.prunable // 2 and outcome.weights_digest


def test_a_refused_program_is_a_verdict(bench: Bench, place: tuple[Path, Path]) -> None:
    assert bench.validate(of(WANDA), 0.5).code == "invalid"
    bench.programs = GivenRunner()
    found = bench.validate(of(HEAD + "    return W * 1\n"), 0.5)
    assert (found.ok, found.code) == (False, "wrong_budget")
    assert "owes" in found.detail


def test_weights_so_large_that_the_model_overflows_are_a_verdict(
    bench: Bench, runner: GivenRunner
) -> None:
    for factor in ("1e10", "1e19"):
        found = bench.validate(of(WANDA.replace("W * topk", f"{factor} * W * topk")), 0.5)
        assert (found.ok, found.code) == (False, "nan_weights") and "too large" in found.detail
    first = "(1e30 if stats['position']['block'] == 0 else 1) * W * topk"
    with pytest.raises(CandidateRejectedError, match=r"nan_weights: .* up to .* are finite"):
        bench.measure(of(WANDA.replace("W * topk", first)), 0.5)
    assert bench.measure(of(WANDA), 0.5).sparsity == 0.5


def test_an_activation_that_is_infinite_in_the_dense_model_is_no_verdict_on_a_program(
    bench: Bench, runner: GivenRunner
) -> None:
    with bench.dense:
        values = next(layer for layer in bench.layers if layer.projection == "v_proj")
        values.write(values.read() * 1e30)
        with pytest.raises(InfiniteActivationError, match="float32 or bfloat16"):
            prune(
                bench.loaded.model, ByProgram(of(WANDA).metric, runner),
                PruningPlan.build(0.5, scoring="sequential"),
                windows=bench.drawn_windows(), layers=bench.layers,
            )  # fmt: skip


def test_a_pattern_that_does_not_divide_the_rows_is_refused(
    bench: Bench, runner: GivenRunner
) -> None:
    budget = Budget(pattern="32:64")
    found = bench.validate(of(WANDA), budget)
    assert (found.ok, found.code) == (False, "invalid") and "multiple of 64" in found.detail
    with pytest.raises(UsageError, match="not a multiple of 64"):
        bench.measure(of(WANDA), budget)
    assert not runner.tasks


def test_three_real_blocks_tell_block_programs_apart(bench: Bench, runner: GivenRunner) -> None:
    before = [layer.read().clone() for layer in bench.layers]
    again = MAGNITUDE.replace("W * topk(W.abs(), budget[n])", "W * topk(W * W, budget[n]) + 0.0")
    worst = MAGNITUDE.replace("W.abs()", "-W.abs()")
    tuned = Recipe.parse("program:ebft")
    found = [bench.validate(of(source), 0.5) for source in (MAGNITUDE, again, worst)]
    found.append(bench.validate(tuned, 0.5))
    plain, same, bad, best = found
    assert plain.ok and plain.signature == same.signature
    assert len({one.signature for one in found}) == 3
    errors = [one.reconstruction_error or 0.0 for one in (best, plain, bad)]
    assert 0 < errors[0] < errors[1] < errors[2]
    assert len(runner.blocks[0].inputs) == held_out(len(bench.drawn_windows()))[0]
    for layer, weight in zip(bench.layers, before, strict=True):
        assert torch.equal(layer.read(), weight)
    assert bench.measure(tuned, 0.5).mask_digest != bench.measure("program:wanda", 0.5).mask_digest
