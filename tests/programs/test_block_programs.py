"""Block programs on tiny models: the trusted method's numbers, budgets, refusals, unseen text."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from autoprune.bench import block_programs
from autoprune.bench.block_programs import ProgramBlocks, mean_error
from autoprune.bench.programs import ByProgram
from autoprune.candidate import Candidate, CandidateRejectedError
from autoprune.errors import UsageError
from autoprune.metrics import build_metric
from autoprune.models.capture import BlockStream
from autoprune.models.structure import prunable_linears
from autoprune.programs import BlockTask, require_same
from autoprune.pruning import BlockPruner, MetricScore, PruningPlan, prune
from autoprune.pruning.layers import scored
from autoprune.pruning.tuning import relative_error
from autoprune.streaming import StreamJob
from sandbox.probe_blocks import tiny_block
from sandbox.worker.block import NAMES, Block
from tests.support.given_runner import GivenRunner
from tests.support.tiny_models import random_windows, tiny_model

WINDOWS = random_windows(8, 24)
# A quarter of the eight windows stays outside.
SEEN = 6
HEAD = "from toolbox import topk\n\ndef prune_block(block, inputs, targets, budget, params):\n"
MAGNITUDE = (
    HEAD + "    return {n: W * topk(W.abs(), budget[n]) for n, W in block.weights.items()}\n"
)
# Program, the trusted repair of Wanda's masks, group, pattern.
SAME = [
    ("ebft", "ebft", "row", "unstructured"),
    ("ebft", "ebft", "row", "2:4"),
    ("sparsegpt_ebft", "sparsegpt:select=own+ebft", "matrix", "unstructured"),
    ("sparsegpt_ebft", "sparsegpt:select=own+ebft", "row", "2:4"),
]


def program(source: str) -> Candidate:
    return Candidate("program", source)


@pytest.mark.parametrize("case", SAME, ids=" ".join)
def test_a_program_gives_the_masks_and_weights_of_the_trusted_method(
    case: tuple[str, str, str, str],
) -> None:
    name, repair, group, pattern = case
    share = 0.6 if pattern == "unstructured" else None
    plan = PruningPlan.build(
        share, group=group, pattern=pattern, scoring="sequential", precision="float32"  # type: ignore[arg-type]
    )  # fmt: skip
    ours, theirs = tiny_model("qwen3"), tiny_model("qwen3")
    layers, others = prunable_linears(ours), prunable_linears(theirs)
    zeros = {x.name: round((share or 0.5) * x.numel) for x in layers}
    by = ByProgram(Candidate.parse(f"program:{name}"), GivenRunner())
    make = by.maker(zeros, plan, 3)
    trusted = replace(plan, repair=PruningPlan.build(0.5, repair=repair).repair)
    score = scored(MetricScore(build_metric("wanda")), zeros, trusted)
    # The trusted one gets just the windows that the program may see, and the same inputs: what
    # rounding does to one block must not decide a near tie of the next.
    mine, other = BlockStream(ours, WINDOWS, batch=1), BlockStream(theirs, WINDOWS[:SEEN], batch=1)
    pruners = BlockPruner(mine, make, plan), BlockPruner(other, score, trusted)
    for block in range(3):
        masks, notes = pruners[0].prune_next([x for x in layers if x.block == block])
        wanted, _ = pruners[1].prune_next([x for x in others if x.block == block])
        assert not notes
        for one, two in zip(layers, others, strict=True):
            if one.block == block:
                assert torch.equal(masks[one.name], wanted[one.name])
                assert float((one.read() - two.read()).abs().max()) <= 1e-5
        mine.hidden[:SEEN] = list(other.hidden)
    assert isinstance(make, ProgramBlocks) and len(make.errors) == 3


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen2", "qwen3"])
def test_the_block_that_programs_call_is_the_model_s(family: str) -> None:
    model, runner = tiny_model(family), GivenRunner()
    plan = PruningPlan.build(0.5, scoring="sequential")
    layers = prunable_linears(model)
    rest = {n: p.clone() for n, p in model.named_parameters() if "proj.weight" not in n}
    made = prune(model, ByProgram(program(MAGNITUDE), runner), plan, windows=WINDOWS, layers=layers)
    assert made.zeros == made.prunable // 2 and not made.notes
    for name, value in model.named_parameters():
        assert name not in rest or torch.equal(value, rest[name])
    assert [dict(task.position) for task in runner.blocks] == [
        {"block": n, "depth": n / 2} for n in range(3)
    ]
    assert all(len(task.inputs) == SEEN == len(task.targets) for task in runner.blocks)
    # What a program is handed is what the pruned model gives, and nothing of the rest of the text.
    with torch.no_grad():
        hidden = model.model(WINDOWS[:SEEN], output_hidden_states=True).hidden_states
    for task, states in zip(runner.blocks, hidden, strict=False):
        torch.testing.assert_close(task.inputs, states)


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("quick", [True, False])
def test_a_first_figure_may_compute_in_bfloat16_where_the_processor_is_fast_with_it(
    quick: bool, native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast = torch.bfloat16 if native else torch.float32
    monkeypatch.setattr(block_programs, "products_type", lambda *_: fast)
    model, runner = tiny_model("llama"), GivenRunner()
    by = ByProgram(Candidate.parse("program:ebft"), runner, quick=quick)
    plan = PruningPlan.build(0.5, scoring="sequential")
    made = prune(model, by, plan, windows=WINDOWS, layers=prunable_linears(model))
    assert made.zeros == made.prunable // 2 and not made.notes
    wanted = {"bfloat16"} if quick and native else {None}
    assert {task.form.get("products") for task in runner.blocks} == wanted
    assert {task.quick for task in runner.blocks} == {quick}
    maker = by.maker({}, plan, 3)
    assert isinstance(maker, ProgramBlocks)
    assert maker.tuning.passes == ("bfloat16" if quick else "float32")


def test_products_in_bfloat16_change_a_block_by_no_more_than_they_round() -> None:
    model, runner = tiny_model("llama"), GivenRunner()
    plan = PruningPlan.build(0.5, scoring="sequential")
    prune(model, ByProgram(program(MAGNITUDE), runner), plan, windows=WINDOWS)
    task = runner.blocks[0]
    exact, rounded = (
        Block({**task.form, **products}, task.weights, task.rest)({}, task.inputs)
        for products in ({}, {"products": "bfloat16"})
    )
    off = (rounded - exact).norm() / exact.norm()
    assert rounded.dtype is torch.float32 and 1e-6 < float(off) < 2e-2


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_a_model_in_half_precision_is_compared_in_float32(dtype: torch.dtype) -> None:
    model, plan = tiny_model("llama").to(dtype), PruningPlan.build(0.5, scoring="sequential")
    layers = prunable_linears(model)
    made = prune(
        model, ByProgram(program(MAGNITUDE), GivenRunner()), plan, windows=WINDOWS, layers=layers
    )
    assert made.zeros == made.prunable // 2 and len(made.block_errors) == 3
    assert all(layer.read().dtype is dtype for layer in layers)
    with pytest.raises(UsageError, match="other numbers"):
        prune(
            model, ByProgram(program(MAGNITUDE), Rescaled()), plan, windows=WINDOWS, layers=layers
        )


@pytest.mark.parametrize(("family", "words"), [
    ("gemma2", "other numbers than the model's"), ("olmo2", "other numbers than the model's"),
    ("opt", "is another kind"), ("mixtral", "is another kind"),
])  # fmt: skip
def test_a_family_that_the_block_cannot_compute_is_refused_untouched(
    family: str, words: str
) -> None:
    model = tiny_model(family)
    layers = prunable_linears(model)
    before = [layer.read().clone() for layer in layers]
    plan = PruningPlan.build(0.5, scoring="sequential")
    with pytest.raises(UsageError, match=words):
        prune(
            model,
            ByProgram(program(MAGNITUDE), GivenRunner()),
            plan,
            windows=WINDOWS,
            layers=layers,
        )
    assert all(torch.equal(x.read(), w) for x, w in zip(layers, before, strict=True))


class Rescaled(GivenRunner):
    """Scores of attention a percent too large."""

    def run_blocks(self, program: Candidate, tasks: Sequence[BlockTask]) -> list[dict[str, Tensor]]:
        off = [replace(x, form={**x.form, "scale": 1.01 * x.form["scale"]}) for x in tasks]
        return super().run_blocks(program, off)


def test_a_percent_of_a_scale_is_seen() -> None:
    model = tiny_model("llama")
    layers = prunable_linears(model)
    plan = PruningPlan.build(0.5, scoring="sequential")
    with pytest.raises(UsageError, match="other numbers"):
        prune(
            model, ByProgram(program(MAGNITUDE), Rescaled()), plan, windows=WINDOWS, layers=layers
        )


@pytest.mark.parametrize("source", [MAGNITUDE, "def prune_block(*_):\n    return {}\n"])
def test_a_runner_hears_that_a_program_is_done_or_rejected(source: str) -> None:
    model, runner = tiny_model("llama"), Counted()
    layers, plan = prunable_linears(model), PruningPlan.build(0.5, scoring="sequential")
    with contextlib.ExitStack() as stack:
        if source != MAGNITUDE:
            stack.enter_context(pytest.raises(CandidateRejectedError, match="incomplete"))
        prune(model, ByProgram(program(source), runner), plan, windows=WINDOWS, layers=layers)
    assert runner.calls[-1] == "done" and runner.calls.count("done") == 1


class Counted(GivenRunner):
    """Notes the order of its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def run_blocks(self, program: Candidate, tasks: Sequence[BlockTask]) -> list[dict[str, Tensor]]:
        self.calls.append("run")
        return super().run_blocks(program, tasks)

    def done(self) -> None:
        self.calls.append("done")


def test_a_block_whose_sums_cancel_may_differ_by_what_their_order_changes() -> None:
    tiny = tiny_block(1)
    weights = {name: weight.clone() for name, weight in tiny.weights.items()}
    # Two neurons that do the same, and whose large contributions cancel each other.
    for name in ("mlp.gate_proj", "mlp.up_proj"):
        weights[name][-1] = weights[name][0]
    down = weights["mlp.down_proj"]
    down[:, 0], down[:, -1] = 1e4, -1e4
    order = torch.arange(len(weights["mlp.up_proj"])).roll(1)
    turned = dict(weights)
    for name in ("mlp.gate_proj", "mlp.up_proj"):
        turned[name] = weights[name][order]
    turned["mlp.down_proj"] = down[:, order]
    wanted = Block(tiny.form, turned, tiny.rest)({}, tiny.inputs)
    task = BlockTask(
        tiny.form, weights, tiny.rest, tiny.stats, {}, {}, tiny.inputs, tiny.targets,
        (tiny.inputs, wanted),
    )  # fmt: skip
    found = Block(tiny.form, weights, tiny.rest)({}, tiny.inputs)
    off = ((found - wanted).norm(dim=-1) / wanted.norm(dim=-1)).max()
    assert 1e-5 < off < 0.1
    require_same(task, Block, "block 0")
    scaled = replace(task, form={**task.form, "scale": 2 * task.form["scale"]})
    with pytest.raises(UsageError, match=r"block 0: .*other numbers"):
        require_same(scaled, Block, "block 0")


class Forged(GivenRunner):
    """Gives back something else than the program made."""

    def __init__(self, change: Mapping[str, Tensor | None]) -> None:
        super().__init__()
        self.change = change

    def run_blocks(self, program: Candidate, tasks: Sequence[BlockTask]) -> list[dict[str, Tensor]]:
        made = super().run_blocks(program, tasks)
        return [{n: w for n, w in {**own, **self.change}.items() if w is not None} for own in made]


@pytest.mark.parametrize(("change", "code"), [
    ({"mlp.up_proj": torch.ones(24, 16)}, "wrong_budget"),
    ({"mlp.up_proj": torch.zeros(24, 15)}, "wrong_shape"),
    ({"mlp.up_proj": torch.full((24, 16), float("nan"))}, "nan_weights"),
    ({"mlp.up_proj": None}, "incomplete"),
    ({"input_layernorm.weight": torch.ones(16)}, "incomplete"),
])  # fmt: skip
def test_what_breaks_the_contract_is_refused(change: dict[str, Tensor | None], code: str) -> None:
    model = tiny_model("llama")
    plan = PruningPlan.build(0.5, scoring="sequential")
    with pytest.raises(CandidateRejectedError) as refused:
        prune(
            model, ByProgram(program(MAGNITUDE), Forged(change)), plan, windows=WINDOWS,
            layers=prunable_linears(model),
        )  # fmt: skip
    assert refused.value.code == code


@pytest.mark.parametrize("change", [{"allocation": "ramp"}, {"repair": "ebft:epochs=1"}])
def test_allocations_and_a_tuning_afterwards_go_with_it(change: dict[str, str]) -> None:
    model = tiny_model("llama")
    layers = prunable_linears(model)
    plan = PruningPlan.build(0.55, scoring="sequential", **change)  # type: ignore[arg-type]
    runner = GivenRunner()
    made = prune(model, ByProgram(program(MAGNITUDE), runner), plan, windows=WINDOWS, layers=layers)
    assert sorted(runner.blocks[0].budgets) == sorted(NAMES)
    owed = sum(budget.zeros for task in runner.blocks for budget in task.budgets.values())
    assert made.zeros == owed == round(0.55 * made.prunable)
    assert sum(int((x.read() == 0).sum()) for x in layers) == made.zeros
    assert len(made.block_errors) == 3


def test_the_error_of_a_block_is_a_mean_over_tokens_however_they_are_batched() -> None:
    generator = torch.Generator().manual_seed(0)
    output, goal = torch.randn(2, 6, 24, 8, generator=generator)

    def error(*sizes: int) -> float:
        used = sum(sizes)
        return mean_error(zip(output[:used].split(sizes), goal[:used].split(sizes), strict=True))

    assert error(4, 1) == pytest.approx(error(5), rel=1e-6)
    plain = [float(relative_error(output[n : n + 2], goal[n : n + 2])) for n in (0, 2, 4)]
    assert error(2, 2, 2) == sum(plain) / 3 != error(6)


def test_without_windows_that_are_held_out_there_is_no_error_of_unseen_ones() -> None:
    """A tuning of all windows at one time leaves one batch, which the program sees."""
    model = tiny_model("llama")
    plan = PruningPlan.build(0.5, scoring="sequential", repair="ebft:epochs=1,batch=8")
    runner = GivenRunner()
    made = prune(
        model,
        ByProgram(program(MAGNITUDE), runner),
        plan,
        windows=WINDOWS,
        layers=prunable_linears(model),
    )
    assert made.block_errors == () and len(runner.blocks[0].inputs) == len(WINDOWS)


def test_what_a_block_program_cannot_do_is_refused(tmp_path: Path) -> None:
    steps = PruningPlan.build(0.5, scoring="true-sequential")
    with pytest.raises(UsageError, match="all matrices of a block at once"):
        ByProgram(program(MAGNITUDE), GivenRunner()).maker({}, steps, 3)
    plan = PruningPlan.build(0.5, scoring="sequential")
    with pytest.raises(UsageError, match="leave out --stream"):
        StreamJob(tmp_path, WINDOWS, program(MAGNITUDE), plan, runner=GivenRunner()).open()
