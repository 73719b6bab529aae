"""Hand-made methods as programs give what the trusted implementations give."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from autoprune.bench.programs import ByProgram
from autoprune.candidate import Candidate, CandidateRejectedError
from autoprune.metrics import build_metric
from autoprune.models.structure import prunable_linears
from autoprune.program_files import CATALOGUE, catalogue, program_source, prunes_blocks
from autoprune.programs import settle, weights_digest
from autoprune.pruning import MetricScore, PruningPlan, prune
from autoprune.recipe import Recipe
from autoprune.search.events import EventLog
from autoprune.streaming import StreamJob, prune_streamed
from sandbox.screen import PROGRAM, entry_of, screen
from sandbox.torch_names import TOOLBOX
from sandbox.worker import toolbox
from tests.support.given_runner import GivenRunner, run_here, tiny_tasks
from tests.support.kept_search import programs_search
from tests.support.tiny_models import random_windows, tiny_model

WINDOWS = random_windows(8, 24)
# Program, the trusted metric and repair, the group, the largest difference of a weight.
SAME = [
    ("wanda", "wanda", "none", "row", 0.0),
    ("wanda", "wanda", "none", "matrix", 0.0),
    ("ria", "ria", "none", "row", 0.0),
    ("ria", "ria", "none", "matrix", 0.0),
    ("sparsegpt", "wanda", "sparsegpt:select=own", "matrix", 1e-5),
    ("dsnot", "wanda", "dsnot", "row", 0.0),
    ("mrp", "wanda", "mrp", "row", 1e-5),
    ("alps", "wanda", "alps", "row", 1e-5),
]
MANUAL = (Path(__file__).parents[2] / "docs" / "programs.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("budget", [(0.6, "unstructured"), (None, "2:4")], ids=["60 %", "2:4"])
@pytest.mark.parametrize("case", SAME, ids=lambda case: f"{case[0]} by {case[3]}")
def test_a_program_gives_the_masks_and_weights_of_the_trusted_method(
    case: tuple[str, str, str, str, float], budget: tuple[float | None, str]
) -> None:
    name, metric, repair, group, bound = case
    sparsity, pattern = budget
    plan = PruningPlan.build(
        sparsity,
        group=group,  # type: ignore[arg-type]
        pattern=pattern,
        scoring="sequential",
    )
    ours, theirs = tiny_model("llama"), tiny_model("llama")
    trusted = prune(
        theirs,
        MetricScore(build_metric(metric)),
        replace(plan, repair=PruningPlan.build(0.5, repair=repair).repair),
        windows=WINDOWS,
    )
    layers = prunable_linears(ours)
    made = prune(
        ours,
        ByProgram(Candidate.parse(f"program:{name}"), GivenRunner()),
        plan,
        windows=WINDOWS,
        layers=layers,
    )
    assert made.mask_digest == trusted.mask_digest
    assert made.zeros == trusted.zeros
    assert not made.notes
    for mine, other in zip(layers, prunable_linears(theirs), strict=True):
        difference = float((mine.read() - other.read()).abs().max())
        assert difference <= bound, mine.name


@pytest.mark.parametrize("name", catalogue())
def test_a_program_is_short_passes_the_screen_and_is_in_the_manual(name: str) -> None:
    source = (CATALOGUE / f"{name}.py").read_text(encoding="utf-8")
    assert source.count("\n") <= 40
    assert screen(source, entry_of(source)) is None
    assert f"`{name}`" in MANUAL


@pytest.mark.parametrize("budget", [(0.6, "unstructured"), (None, "2:4")], ids=["60 %", "2:4"])
def test_what_a_search_found_is_kept_to_the_bit(
    tmp_path: Path, budget: tuple[float | None, str]
) -> None:
    events = list(EventLog(programs_search(tmp_path)))
    steps = (event.body.get("step", {}) for event in events)
    found = next(one["recipe"] for one in steps if one.get("recipe_id") == "C63")
    winner = Recipe.from_json(found).metric
    given = Candidate.parse("program:robust_ebft")
    assert given.params.items() <= winner.params.items()
    plan = PruningPlan.build(budget[0], pattern=budget[1], scoring="sequential")
    made = []
    for program in (winner, given):
        model = tiny_model("llama")
        layers = prunable_linears(model)
        prune(model, ByProgram(program, GivenRunner()), plan, windows=WINDOWS, layers=layers)
        made.append([layer.read() for layer in layers])
    assert all(map(torch.equal, *made))


def test_the_toolbox_is_what_the_screen_allows_and_the_manual_explains() -> None:
    assert set(toolbox.__all__) == TOOLBOX
    for name in toolbox.__all__:
        assert f"| `{name}(" in MANUAL


def test_a_step_of_adam_is_torch_s_own_and_leaves_masked_weights() -> None:
    keep = torch.rand(4, 6) > 0.5
    start = torch.randn(4, 6) * keep
    leaf = start.clone().requires_grad_(True)
    torch_s = torch.optim.Adam([leaf], lr=0.1, betas=(0.9, 0.95))
    weight, memory = start, {}
    for _ in range(5):
        gradient = torch.randn(4, 6) * keep
        kept = gradient.clone()
        leaf.grad = gradient.clone()
        torch_s.step()
        new = toolbox.adam(weight, gradient, memory, 0.1)
        assert new is not weight and torch.equal(gradient, kept)
        weight = new
    torch.testing.assert_close(weight, leaf.detach(), rtol=0, atol=1e-6)
    assert torch.equal(weight == 0, ~keep)


def test_the_manual_s_example_runs_and_hits_its_budget() -> None:
    source = MANUAL.partition("```python\n")[2].partition("```")[0]
    assert screen(source, PROGRAM) is None
    model = tiny_model("llama")
    layers = prunable_linears(model)
    program = Candidate("program", source, {"damp": 0.01})
    plan = PruningPlan.build(0.6, scoring="sequential")
    made = prune(model, ByProgram(program, GivenRunner()), plan, windows=WINDOWS, layers=layers)
    assert made.zeros == round(0.6 * sum(layer.numel for layer in layers))
    assert not made.notes


@pytest.mark.parametrize("plan", [{}, {"allocation": "ramp"}, {"scoring": "true-sequential"}])
def test_streaming_gives_the_same_bits(plan: dict[str, str], tmp_path: Path) -> None:
    built = PruningPlan.build(0.55, **{"scoring": "sequential", **plan})  # type: ignore[arg-type]
    program = Candidate.parse("program:sparsegpt")
    model = tiny_model("llama")
    model.save_pretrained(tmp_path / "dense")
    layers = prunable_linears(model)
    made = prune(model, ByProgram(program, GivenRunner()), built, windows=WINDOWS, layers=layers)
    job = StreamJob(tmp_path / "dense", WINDOWS, program, built, runner=GivenRunner())
    streamed = prune_streamed(job, tmp_path / "pruned")
    again = type(model).from_pretrained(tmp_path / "pruned").eval()
    assert streamed.mask_digest == made.mask_digest
    assert weights_digest(prunable_linears(again)) == made.weights_digest


def test_streaming_rejects_a_program_whose_weights_overflow(tmp_path: Path) -> None:
    tiny_model("llama").save_pretrained(tmp_path / "dense")
    source = program_source("wanda")
    huge = source.replace("W * topk", "(1e30 if stats['position']['block'] == 0 else 1) * W * topk")
    assert huge != source
    plan = PruningPlan.build(0.5, scoring="sequential")
    job = StreamJob(
        tmp_path / "dense", WINDOWS, Candidate.program(huge), plan, runner=GivenRunner()
    )
    # The second time, the first block is pruned and on disk.
    for _ in range(2):
        with pytest.raises(CandidateRejectedError, match=r"nan_weights: .* are finite"):
            prune_streamed(job, tmp_path / "pruned")


def test_damping_of_nothing_adds_nothing() -> None:
    factor = torch.randn(8, 8, generator=torch.Generator().manual_seed(1)) * 0.01
    gram = factor @ factor.T + 1e-4 * torch.eye(8)
    assert torch.equal(toolbox.damped(gram, 0.0), gram)
    upper = toolbox.inverse_cholesky(gram, 0.0)
    torch.testing.assert_close(upper.T @ upper @ gram, torch.eye(8), rtol=0, atol=1e-3)
    # Singular, and all inputs dead: there is a factor all the same.
    for singular in (torch.ones(8, 8), torch.zeros(8, 8)):
        assert torch.isfinite(toolbox.inverse_cholesky(singular, 0.0)).all()


@pytest.mark.parametrize(("name", "has_gram"), [("mrp", True), ("wanda", False)])
def test_a_program_sees_the_inputs_that_its_layer_really_gets(name: str, has_gram: bool) -> None:
    model, runner = tiny_model("llama"), GivenRunner()
    layers = prunable_linears(model)
    plan = PruningPlan.build(0.6, scoring="sequential")
    program = Candidate.parse(f"program:{name}")
    prune(model, ByProgram(program, runner), plan, windows=WINDOWS, layers=layers)
    seen: list[torch.Tensor] = []
    last = next(layer for layer in layers if layer.block == 2 and layer.projection == "q_proj")
    handle = last.owner.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.no_grad():
        model(WINDOWS)
    handle.remove()
    inputs = seen[0].reshape(-1, last.shape[1])
    task = next(task for task in runner.tasks if dict(task.position) == {
        "block": 2, "depth": 1.0, "kind": "q_proj"
    })  # fmt: skip
    gram = inputs.T @ inputs / len(inputs)
    torch.testing.assert_close(task.stats["x_norm"], gram.diagonal().sqrt())
    # It is collected only where the source names it.
    assert ("gram" in task.stats) is has_gram
    if has_gram:
        torch.testing.assert_close(task.stats["gram"], gram)


OF_LAYERS = sorted(name for name in catalogue() if not prunes_blocks(program_source(name)))


@pytest.mark.parametrize("name", OF_LAYERS)
def test_every_layer_program_meets_every_budget(name: str) -> None:
    program = Candidate.parse(f"program:{name}")
    for place, task in enumerate(tiny_tasks()):
        made = run_here(program.source, task, dict(program.params))
        settle(made, task.weight, task.budget, task.weight.dtype, f"layer {place}")
