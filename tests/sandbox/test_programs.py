"""Layer programs against real Docker: the same bits as outside, nothing kept, attacks contained."""

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from docker.errors import APIError

from autoprune.bench.program_limits import ProgramLimits, limits_of
from autoprune.candidate import Candidate, CandidateRejectedError
from autoprune.errors import NothingPassedError, UsageError
from autoprune.program_files import handed_constants
from autoprune.programs import LayerBudget, LayerTask
from flows.prune import prune
from flows.prune.params import PruneParams
from sandbox.client import Sandbox
from sandbox.codes import Code
from sandbox.container import Container, ContainerLostError, LayerInput, Order
from sandbox.errors import SandboxBrokenError
from sandbox.exchange import OWNER_FILE
from sandbox.limits import Limits
from sandbox.outcomes import Accepted, Rejected
from sandbox.probe_programs import TINY
from sandbox.screen import PROGRAM, SCORE, entry_of, screen
from tasks.programs import PROCESSORS, SandboxPrograms
from tasks.state import State
from tasks.validate import validate_file
from tests.support.attacks.hostile_program import ACCEPTED, HostileProgram
from tests.support.attacks.program_attacks import APART, TOGETHER
from tests.support.given_runner import run_here, tiny_tasks
from tests.support.jobs_in_containers import containers
from tests.support.prefect_stack import until
from tests.support.shared_container import SharedPool
from tests.support.tiny_models import tiny_model
from tests.support.tiny_subject import tiny_place

HONEST = Candidate.parse("program:wanda")


@pytest.mark.docker
def test_the_container_gives_the_bits_of_this_process(tmp_path: Path, one_thread: None) -> None:
    tasks, run = tiny_tasks(), "bits"
    with SandboxPrograms(tmp_path / "inputs", run, warm=0) as runner:
        for name in ("sparsegpt", "mrp", "alps"):
            program = Candidate.parse(f"program:{name}")
            made = runner.run(program, tasks)
            for task, weights in zip(tasks, made, strict=True):
                here = run_here(program.source, task, dict(program.params))
                assert torch.equal(weights, here), name
            # A container for each processor, until the program is done.
            runner.run(program, tasks)
            assert len(containers(run)) == min(PROCESSORS, len(tasks))
            runner.done()
            until(lambda: not containers(run), 60, "the end of the program's containers")
        with pytest.raises(CandidateRejectedError, match="nan_weights"):
            head = "def prune_layer(W, stats, budget, params):\n"
            runner.run(Candidate("program", head + "    return W / 0\n"), tasks)
        runner.require(HONEST)
    assert list((tmp_path / "inputs").iterdir()) == []


@pytest.mark.docker
def test_a_constant_declared_without_a_point_arrives_as_an_integer(tmp_path: Path) -> None:
    source = (
        "from toolbox import topk\n\n"
        'PARAMS = {"steps": 3, "power": 2.0}\n\n'
        "def prune_layer(W, stats, budget, params):\n"
        "    for step in range(params['steps']):\n"
        "        W = W * topk(W.abs() ** params['power'], budget)\n"
        "    if params['power'].is_integer():\n"
        "        W = W * 1.0\n"
        "    return W\n"
    )
    program = Candidate.program(source)
    with SandboxPrograms(tmp_path / "inputs", "tests", warm=0) as runner:
        runner.require(program)
        tuned = Candidate("program", source, {"steps": 4.0, "power": 3.0})
        (made,) = runner.run(tuned, tiny_tasks()[:1])
    assert torch.isfinite(made).all()
    handed = handed_constants(source, {"steps": 4.0, "power": 3.0})
    assert [type(value) for value in handed.values()] == [int, float]


@pytest.mark.docker
def test_a_search_may_give_a_program_less_time_than_its_sizes(tmp_path: Path) -> None:
    slow = (
        "def prune_layer(W, stats, budget, params):\n    total = 0.0\n"
        "    for step in range(10 ** 9):\n        total = total + step\n    return W\n"
    )
    with SandboxPrograms(tmp_path / "inputs", "tests", most=1.0) as runner:
        assert runner.sandbox is not None
        start = time.monotonic()
        with pytest.raises(CandidateRejectedError, match=r"timeout: ended by .*: 1 s of the proc"):
            runner.run(Candidate.program(slow), tiny_tasks()[:1])
        # Without the lower limit, 20 s and more.
        assert time.monotonic() - start < 15


@pytest.mark.docker
def test_ctrl_c_waits_for_no_program(tmp_path: Path) -> None:
    endless = "def prune_layer(W, stats, budget, params):\n    while True:\n        W = W * 1.0\n"

    def press(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, press)
    try:
        with SandboxPrograms(tmp_path / "inputs", "interrupted", warm=0) as runner:
            runner.run(HONEST, tiny_tasks())
            assert len(containers("interrupted")) == min(PROCESSORS, len(TINY))
            signal.alarm(3)
            start = time.monotonic()
            with pytest.raises(KeyboardInterrupt):
                runner.run(Candidate("program", endless), tiny_tasks())
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    # The program itself may take 20 s and more.
    assert time.monotonic() - start < 20 and not containers("interrupted")


@pytest.mark.docker
def test_validate_knows_a_program_and_explains_its_refusal(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(HONEST.source)
    found = validate_file(State.open(tmp_path / "state"), str(file))
    assert found["ok"] and found["kind"] == "program" and "gram" in found["statistics"]
    file.write_text("def prune_layer(W, stats, budget, params):\n    return W * 1\n")
    found = validate_file(State.open(tmp_path / "state"), str(file))
    assert (found["code"], found["line"], found["text"]) == ("wrong_budget", 2, "return W * 1")
    assert "topk" in found["remedy"]
    with pytest.raises(UsageError, match="is a program"):
        validate_file(State.open(tmp_path / "state"), str(file), ["x_norm"])


@pytest.mark.docker
def test_prune_by_a_program_keeps_its_source_in_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOPRUNE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("AUTOPRUNE_PREFECT", "off")
    model, text = tiny_place(tmp_path)
    file, out = tmp_path / "mine.py", tmp_path / "out"
    file.write_text("def prune_layer(W, stats, budget, params):\n    return W * 1\n")
    asked = {"model": str(model), "program": str(file), "corpus": str(text)}
    asked |= {"sparsity": 0.5, "calibration_windows": 4, "seqlen": 32, "out": str(out)}
    with pytest.raises(NothingPassedError, match="wrong_budget"):
        prune.fn(PruneParams.model_validate(asked))
    assert not out.exists()
    file.write_text(HONEST.source)
    record = prune.fn(PruneParams.model_validate(asked))
    assert record["zeros"] == record["pruned"] == record["prunable"] // 2
    kept = json.loads((out / "autoprune.json").read_text())
    assert kept["program"]["source"] == (out / "program.py").read_text() == HONEST.source
    assert kept["program"]["limits"]["seconds"] >= 20 and len(kept["weights_digest"]) == 64
    card = (out / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: transformers") and "Licence of the base" in card
    assert HONEST.source.strip() in card and "--program program.py --sparsity 0.5" in card


def test_the_screen_tells_programs_from_metrics() -> None:
    assert entry_of(HONEST.source) == PROGRAM
    plain, helper = (
        "def score(W, stats, params):\n    return W\n",
        "def score(W, stats):\n    return W\n",
    )
    assert entry_of(plain) == entry_of(plain + HONEST.source) == entry_of(helper) == SCORE
    assert entry_of(helper + HONEST.source) == entry_of(HONEST.source + helper) == PROGRAM
    metric = screen("from toolbox import topk\ndef score(W, stats, params):\n    return W\n")
    assert metric is not None and metric.code is Code.SCREEN_IMPORT
    head = "def prune_layer(W, stats, budget, params):\n"
    for source, code in (
        (head + "    return topk(W, budget)\n", Code.SCREEN_NAME),
        ("from toolbox import Callable\n" + head + "    return W\n", Code.SCREEN_IMPORT),
        ("import toolbox\n" + head + "    return toolbox.torch\n", Code.SCREEN_ATTRIBUTE),
        (head.replace("budget, ", "") + "    return W\n", Code.NO_PROGRAM),
        (head + "    return W\n" + head + "    return W\n", Code.NO_PROGRAM),
    ):
        refused = screen(source, PROGRAM)
        assert refused is not None and refused.code is code, source


def test_limits_follow_from_the_size_of_the_layers() -> None:
    small, large = ProgramLimits.of([(576, 576)]), ProgramLimits.of([(4096, 4096)])
    assert small.seconds < 2 * 20 < 1000 < large.seconds
    assert large.memory_bytes - small.memory_bytes > 8 * 4 * (4096**2)
    both = ProgramLimits.of([(576, 576), (4096, 4096)])
    assert both.memory_bytes == large.memory_bytes and both.seconds >= large.seconds
    assert limits_of([]).seconds == 20
    assert limits_of(list(_layers())).seconds >= 20


class Opened:
    """Stands for a sandbox: notes its limits and what it is handed; returns zeros."""

    made: ClassVar[list["Opened"]] = []

    def __init__(self, *, limits: Limits, **_: object) -> None:
        self.limits, self.is_open = limits, False
        self.walls: list[float] = []
        self.made.append(self)

    def __enter__(self) -> "Opened":
        self.is_open = True
        return self

    def __exit__(self, *_: object) -> None:
        self.is_open = False

    def prune_layers(self, _: str, layers: list[LayerInput], *__: Any, **how: Any) -> Accepted:
        assert self.is_open and (layers[0].file.parent / OWNER_FILE).is_file()
        self.walls.append(how["wall_s"])
        return Accepted(tuple(np.zeros(layer.shape, np.float32) for layer in layers), 0.0, "none")


def test_a_call_longer_than_foreseen_opens_the_sandbox_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.programs.Sandbox", Opened)
    monkeypatch.setattr(Opened, "made", [])
    budget = LayerBudget("matrix", 0)
    small, large = (LayerTask(torch.zeros(1, n), {}, budget, {}) for n in (8, 4096))
    with SandboxPrograms(tmp_path / "inputs", "tests") as runner:
        for task in (small, small, large, small, large):
            runner.run(HONEST, [task])
    first, second = Opened.made
    assert len(first.walls) == 2 and len(second.walls) == 3 and not second.is_open
    for box in Opened.made:
        # The pool hands out no container whose remaining life is shorter than this.
        assert box.limits.lifetime_s > box.limits.score_s >= max(box.walls)
        # The trial on the tiny block has as long as any other call at least.
        assert box.limits.probe_s == 20
    assert list((tmp_path / "inputs").iterdir()) == []


@pytest.mark.parametrize(("entry", "raised"), [(PROGRAM, True), (SCORE, False)])
def test_a_program_gets_the_memory_that_is_promised_for_a_small_layer_too(
    entry: str, raised: bool, tmp_path: Path
) -> None:
    file = tmp_path / "layer"
    file.write_bytes(bytes(1000))
    given: list[int] = []
    cell: Any = SimpleNamespace(
        id="", _memory=768 << 20, _limits=Limits(memory_per_input=8),
        _exchange=SimpleNamespace(prepare=lambda *_: ["name"]),
        _engine=SimpleNamespace(raise_memory=lambda _, memory: given.append(memory)),
    )  # fmt: skip
    layer = LayerInput(file, (1, 2))
    Container._prepare(cell, Order("", {}, [layer], ((0,),), False, 1.0, entry=entry), 0)
    assert given == ([(768 << 20) + 8000] if raised else [])


def test_a_daemon_that_gives_no_memory_is_no_fault_of_the_program(tmp_path: Path) -> None:
    (tmp_path / "layer").write_bytes(bytes(1000))
    alive = True

    def refuse(*_: object) -> None:
        raise APIError("500 Server Error")

    cell: Any = SimpleNamespace(
        id="", _memory=768 << 20, _limits=Limits(memory_per_input=8),
        _exchange=SimpleNamespace(prepare=lambda *_: ["name"]),
        _engine=SimpleNamespace(raise_memory=refuse),
        state=lambda: SimpleNamespace(running=alive),
    )  # fmt: skip
    order = Order(
        "", {}, [LayerInput(tmp_path / "layer", (1, 2))], ((0,),), False, 1.0, entry=PROGRAM
    )
    with pytest.raises(SandboxBrokenError, match=r"768 MiB \(500 .*autoprune doctor"):
        Container._prepare(cell, order, 0)
    alive = False
    with pytest.raises(ContainerLostError):
        Container._prepare(cell, order, 0)


def _layers() -> Iterator[object]:
    from autoprune.models.structure import prunable_linears

    yield from prunable_linears(tiny_model("llama"))


def _box(folder: Path, **limits: Any) -> Sandbox:
    """Without the screen, so that the container alone is tested."""
    bounds = Limits(memory_bytes=512 << 20, **limits)
    return Sandbox(inputs=folder, limits=bounds, run_id="programs", screening=False)


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with _box(tmp_path_factory.mktemp("programs"), probe_s=8, warm=1) as made:
        yield made


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """For what usually ends by the limit of time."""
    with _box(tmp_path_factory.mktemp("programs"), probe_s=2, warm=1) as made:
        yield made


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """One container for all programs that do nothing to it."""
    with _box(tmp_path_factory.mktemp("programs"), probe_s=8, warm=0) as made:
        SharedPool(made)
        yield made


def _code(outcome: Accepted | Rejected) -> str:
    if isinstance(outcome, Rejected):
        assert len(outcome.detail) <= 400 and outcome.detail.isprintable()
        return str(outcome.code)
    try:
        SandboxPrograms.recount(outcome)
    except CandidateRejectedError as error:
        return error.code
    return ACCEPTED


@pytest.mark.docker
@pytest.mark.slow
@pytest.mark.parametrize("attack", TOGETHER, ids=lambda attack: attack.name)
def test_attack_is_contained(attack: HostileProgram, shared: Sandbox) -> None:
    _assert_contained(attack, shared)


@pytest.mark.docker
@pytest.mark.slow
@pytest.mark.parametrize("attack", APART, ids=lambda attack: attack.name)
def test_attack_on_the_container_is_contained(
    attack: HostileProgram, box: Sandbox, impatient: Sandbox
) -> None:
    _assert_contained(attack, impatient if attack.expect[0] == "timeout" else box)


def _assert_contained(attack: HostileProgram, place: Sandbox) -> None:
    outcome = place.probe_program(attack.source)
    code = _code(outcome)
    assert code in attack.expect, outcome
    if code == ACCEPTED and isinstance(outcome, Accepted) and attack.expect == (ACCEPTED,):
        for index, task in enumerate(tiny_tasks()):
            source = "from toolbox import topk\ndef prune_layer(W, stats, budget, params):\n"
            here = run_here(f"{source}    return W * topk(W.abs(), budget)\n", task)
            np.testing.assert_array_equal(outcome.scores[index], here.numpy())


@pytest.mark.docker
@pytest.mark.slow
def test_the_next_honest_program_is_fine(box: Sandbox, shared: Sandbox) -> None:
    for place in (box, shared):
        assert _code(place.probe_program(HONEST.source)) == ACCEPTED
    assert len(TOGETHER) + len(APART) >= 64
