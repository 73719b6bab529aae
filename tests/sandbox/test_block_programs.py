"""Block programs against real Docker: the numbers of this process, attacks contained."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from autoprune.bench.program_limits import ProgramLimits, limits_of
from autoprune.candidate import Candidate, CandidateRejectedError
from autoprune.errors import UsageError
from autoprune.program_files import program_source
from autoprune.programs import READS, BlockTask, LayerBudget
from sandbox.client import Sandbox
from sandbox.codes import Code
from sandbox.container import Order
from sandbox.limits import Limits
from sandbox.outcomes import Accepted, Rejected
from sandbox.probe_blocks import tiny_block, write_tiny_blocks
from sandbox.screen import BLOCK, PROGRAM, SCORE, entry_of, screen
from sandbox.verdicts import judge_weights
from sandbox.worker.block import NAMES, packed
from tasks import programs
from tasks.programs import SandboxPrograms, matrices
from tasks.state import State
from tasks.validate import validate_file
from tests.support.attacks.block_attacks import APART, TOGETHER
from tests.support.attacks.hostile_program import ACCEPTED, HostileProgram
from tests.support.given_runner import run_block_here
from tests.support.shared_container import SharedCell

HONEST = """
from toolbox import topk

def prune_block(block, inputs, targets, budget, params):
    return {n: W * topk(W.abs(), budget[n]) for n, W in block.weights.items()}
"""


def tiny_task(index: int) -> BlockTask:
    tiny = tiny_block(index)
    return BlockTask(
        tiny.form, tiny.weights, tiny.rest, tiny.stats,
        {name: LayerBudget.from_json(own) for name, own in tiny.budgets.items()},
        {"block": index, "depth": float(index)}, tiny.inputs, tiny.targets,
        (tiny.inputs[:2], tiny.targets[:2]),
    )  # fmt: skip


@pytest.mark.docker
def test_the_container_gives_the_bits_of_this_process(tmp_path: Path, one_thread: None) -> None:
    tasks, program = [tiny_task(0), tiny_task(1)], Candidate.parse("program:sparsegpt_ebft")
    with SandboxPrograms(tmp_path / "inputs", "tests", warm=0) as runner:
        for task, made in zip(tasks, runner.run_blocks(program, tasks), strict=True):
            here = run_block_here(program.source, task, dict(program.params))
            assert made.keys() == here.keys()
            for name, weight in made.items():
                assert torch.equal(weight, here[name]), name
    assert list((tmp_path / "inputs").iterdir()) == []


@pytest.mark.docker
def test_a_first_figure_takes_all_threads_and_stays_near(
    tmp_path: Path, one_thread: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads, prune_layers = [], Sandbox.prune_layers

    def noting(self: Sandbox, *args: Any, **limits: Any) -> Accepted | Rejected:
        threads.append(limits["threads"])
        return prune_layers(self, *args, **limits)

    monkeypatch.setattr(Sandbox, "prune_layers", noting)
    monkeypatch.setattr(programs, "PROCESSORS", 2)
    task, program = tiny_task(0), Candidate.parse("program:ebft")
    quick = replace(task, quick=True, form={**task.form, "products": "bfloat16"})
    with SandboxPrograms(tmp_path / "inputs", "tests", warm=0) as runner:
        (plain,), (made,) = (runner.run_blocks(program, [one]) for one in (task, quick))
    assert threads == [1, 2]
    for name, weight in made.items():
        assert torch.equal(weight == 0, plain[name] == 0), name
        assert 0 < float((weight - plain[name]).norm() / plain[name].norm()) < 0.1, name


def test_threads_leave_room_in_the_limit_of_processes() -> None:
    assert Limits().pids >= 2 * programs.MOST_THREADS


def test_a_family_is_refused_before_anything_runs(tmp_path: Path) -> None:
    task = tiny_task(0)
    off = replace(task, form={**task.form, "scale": 1.01 * task.form["scale"]})
    with (
        SandboxPrograms(tmp_path / "inputs", "tests") as runner,
        pytest.raises(UsageError, match="block 0: the block that programs can call gives other"),
    ):
        runner.run_blocks(Candidate("program", HONEST), [task, off])
    assert not (tmp_path / "inputs").exists()


@pytest.mark.docker
def test_validate_knows_a_block_program(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(HONEST)
    found = validate_file(State.open(tmp_path / "state"), str(file))
    assert found["ok"] and found["kind"] == "program" and found["given"].startswith("block")
    file.write_text(HONEST.replace("topk(W.abs(), budget[n])", "1"))
    found = validate_file(State.open(tmp_path / "state"), str(file))
    assert (found["code"], found["line"]) == ("wrong_budget", 5)


def test_the_screen_knows_block_programs_and_lets_them_differentiate() -> None:
    assert entry_of(HONEST) == BLOCK and entry_of("x = 1") == SCORE
    assert entry_of("def prune_layer(W):\n    pass\n" + HONEST) == PROGRAM
    head = "import torch\ndef prune_block(block, inputs, targets, budget, params):\n"
    allowed = (
        "    with torch.enable_grad():\n"
        "        w = block.weights['a'].clone().requires_grad_(True)\n"
        "        return torch.autograd.grad(block({'a': w}, inputs).sum(), w)\n"
    )
    assert screen(head + allowed, BLOCK) is None
    for source, code in (
        (head + "    return block._rest\n", Code.SCREEN_ATTRIBUTE),
        (head + "    return torch.autograd.Function\n", Code.SCREEN_ATTRIBUTE),
        (head + "    inputs.register_hook(len)\n", Code.SCREEN_ATTRIBUTE),
        (head.replace("targets, ", "") + "    return inputs\n", Code.NO_PROGRAM),
    ):
        refused = screen(source, BLOCK)
        assert refused is not None and refused.code is code, source


def test_limits_grow_with_the_text_that_a_block_program_is_handed() -> None:
    shapes = [(576, 576), (1536, 576)]
    layer, short, long = (ProgramLimits.of(shapes, tokens) for tokens in (0, 4096, 16384))
    assert layer.seconds < short.seconds < long.seconds
    assert long.memory_bytes - short.memory_bytes == 8 * 8 * (16384 - 4096) * 576


def test_the_memory_that_is_printed_is_eight_times_what_is_handed_over() -> None:
    hidden, wide, windows, length = 64, 96, 8, 24
    widths = {name: wide if name == "mlp.down_proj" else hidden for name in NAMES}
    shapes = {name: (hidden + wide - width, width) for name, width in widths.items()}
    layers: Any = [
        SimpleNamespace(block=0, shape=shape, projection=name.partition(".")[2])
        for name, shape in shapes.items()
    ]

    def statistics(width: int) -> dict[str, torch.Tensor]:
        vectors = {name: torch.empty(width) for name in READS - {"gram"}}
        return vectors | {"gram": torch.empty(width, width)}

    attention, out, mlp, down = (statistics(width) for width in (hidden, hidden, hidden, wide))
    stats = {name: mlp if "mlp" in name else attention for name in NAMES}
    stats |= {"self_attn.o_proj": out, "mlp.down_proj": down}
    # Two of the eight windows are held out.
    seen = torch.empty(6, length, hidden)
    weights = {name: torch.empty(shape) for name, shape in shapes.items()}
    tensors, _ = packed(weights, {}, stats, seen, seen)
    limits = limits_of(layers, windows, length, HONEST)
    assert limits.memory_bytes == (768 << 20) + 8 * sum(t.nbytes for t in tensors.values())
    assert limits.seconds == ProgramLimits.of(shapes.values(), 6 * length).seconds
    layer = limits_of(layers, windows, length, program_source("wanda"))
    given = [weights["mlp.down_proj"], *down.values()]
    assert layer.memory_bytes == (768 << 20) + 8 * sum(t.nbytes for t in given)


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """Without the screen, so that the container alone is tested."""
    folder = tmp_path_factory.mktemp("blocks")
    limits = Limits(probe_s=6, memory_bytes=512 << 20, warm=1)
    with Sandbox(inputs=folder, limits=limits, run_id="blocks", screening=False) as made:
        yield made


@pytest.fixture(scope="module")
def cell(box: Sandbox) -> Iterator[SharedCell]:
    """One container for many jobs; a search never does that."""
    made = box._make_container()
    yield SharedCell(made)
    made.close()


@pytest.fixture(scope="module")
def order(tmp_path_factory: pytest.TempPathFactory) -> Order:
    layers = write_tiny_blocks(tmp_path_factory.mktemp("tiny"))
    return Order("", {}, layers, ((0, 1),), True, 8, entry=BLOCK)


def judged(outcome: Accepted | Rejected) -> str:
    if isinstance(outcome, Rejected):
        return str(outcome.code)
    try:
        SandboxPrograms.recount(outcome, blocks=True)
    except CandidateRejectedError as error:
        return error.code
    return ACCEPTED


def tried(cell: SharedCell, order: Order) -> tuple[str, list[np.ndarray]]:
    """What the host makes of a program: its code, and the rows of both blocks."""
    ended = cell.run(order, 0)
    if ended.code != "ok":
        return ended.code, []
    rows = list(cell.take_scores(order.count).reshape(2, 1, -1))
    failure = next(filter(None, map(judge_weights, rows, range(2))), None)
    if failure is not None:
        return str(failure[0]), rows
    return judged(Accepted(tuple(rows), 0.0, "")), rows


@pytest.mark.docker
@pytest.mark.slow
@pytest.mark.parametrize("attack", TOGETHER, ids=lambda attack: attack.name)
def test_attack_is_contained(attack: HostileProgram, cell: SharedCell, order: Order) -> None:
    code, rows = tried(cell, replace(order, source=attack.source))
    assert code in attack.expect
    if code == ACCEPTED and attack.expect == (ACCEPTED,):
        for index, row in enumerate(rows):
            task = tiny_task(index)
            here = run_block_here(HONEST, task)
            for name, weight in matrices(torch.from_numpy(row), task.weights).items():
                assert torch.equal(weight, here[name]), name


@pytest.mark.docker
@pytest.mark.slow
def test_the_next_honest_program_is_fine(cell: SharedCell, order: Order) -> None:
    assert tried(cell, replace(order, source=HONEST))[0] == ACCEPTED
    assert len(TOGETHER) + len(APART) >= 40


@pytest.mark.docker
@pytest.mark.slow
@pytest.mark.parametrize("attack", APART, ids=lambda attack: attack.name)
def test_attack_on_the_container_is_contained(attack: HostileProgram, box: Sandbox) -> None:
    assert judged(box.probe_program(attack.source)) in attack.expect
