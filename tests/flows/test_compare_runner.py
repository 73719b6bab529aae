"""Cells of a comparison on workers: the same table and the same records as in one process."""

import json
import os
import signal
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import BaseModel, model_serializer

from autoprune.errors import AutopruneError, UsageError
from flows.compare import flow as module
from flows.compare.params import CompareParams
from flows.engine import Engine
from flows.params import checked
from flows.runners import Answers, Workers, workers
from flows.terminal.console import Screen
from tasks import remote
from tasks.state import State
from tests.support.command_line import CommandLine
from tests.support.held import hold
from tests.support.prefect_stack import until
from tests.support.small_comparison import LINE, Compared
from tests.support.started_command import start

# A strength to tune, what reads no text, what needs Gram matrices, what fixes its own strength.
METHODS = "wanda,magnitude,wanda+ramp,sparsegpt+none,wanda+ramp:half_width=0.05,random"
# Of the tiny model; and cells of the method that is held: two draws of two targets.
LAYERS, HELD_CELLS = 14, 4
# What says when, by which source and on how many threads, of which workers have one each.
CIRCUMSTANCES = ("date", "prune_seconds", "seconds", "commit", "machine")


@pytest.fixture
def compared(compared: Compared) -> Compared:
    return partial(compared, methods=METHODS, pattern=["2:4"], tune=2)


def without_chance(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_chance(v) for key, v in value.items() if key not in CIRCUMSTANCES}
    return [without_chance(v) for v in value] if isinstance(value, list) else value


def cells(home: Path) -> dict[str, Any]:
    """Every kept record by the name of its file, which is the digest of its key."""
    files = (home / "comparison" / "cells").glob("*/[0-9a-f]*.json")
    return {file.name: without_chance(json.loads(file.read_text())["record"]) for file in files}


def ledger(home: Path) -> str:
    """Ledger of the installation that a state folder stands for here."""
    return str(home / "looks.jsonl")


def looks(home: Path) -> list[str]:
    lines = map(json.loads, Path(ledger(home)).read_text().splitlines())
    return sorted(line["run"] for line in lines if "run" in line)


@pytest.fixture(autouse=True)
def own_ledger(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOPRUNE_LEDGER", ledger(home))


class InThisProcess:
    """Workers whose answers come last first, each job done as a worker does it."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.jobs: list[str] = []

    def run(self, jobs: Sequence[tuple[Any, str, str, list[Any]]]) -> Answers:
        for name, call, step, arguments in reversed(jobs):
            self.jobs.append(step)
            job = {"call": call, "step": step, "arguments": arguments, "bench": self.config}
            yield name, remote.run_job(json.loads(json.dumps(job)))


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[InThisProcess]]:
    made: list[InThisProcess] = []

    @contextmanager
    def started(_kind: str, _count: int, _place: Any, config: Any) -> Iterator[InThisProcess]:
        made.append(InThisProcess(config))
        yield made[-1]

    monkeypatch.setattr(module, "workers", started)
    yield made
    remote._close()


def test_answers_in_any_order_give_the_same_table(
    compared: Compared, home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    fake: list[InThisProcess],
) -> None:  # fmt: skip
    there = compared(out=str(tmp_path / "there"))
    opened = list(remote._open)
    assert len(opened) == 1
    (made,) = fake
    # A key that several cells share is measured once: all draws of magnitude, the fixed strength.
    steps = made.jobs
    assert len(set(steps)) == len(steps) == there["measured"]
    assert not any(step.startswith("magnitude") and "seed 1" in step for step in steps)
    trials = [number for number, step in enumerate(steps) if step.endswith("(trial)")]
    later = [number for number, step in enumerate(steps) if "seed 1" in step]
    assert len(trials) == 2 and max(trials) < min(later)

    with monkeypatch.context() as patch:
        patch.setattr(module, "workers", workers)
        patch.setenv("AUTOPRUNE_HOME", str(home / "serial"))
        patch.setenv("AUTOPRUNE_LEDGER", ledger(home / "serial"))
        here = compared(out=str(tmp_path / "here"))
        assert here["measured"] == there["measured"] and here["cached"] == there["cached"]
    assert cells(home / "serial") == cells(home)
    assert looks(home / "serial") == looks(home)
    assert (tmp_path / "here" / "comparison.tex").read_bytes() == (
        tmp_path / "there" / "comparison.tex"
    ).read_bytes()
    ids = ("method", "measured_as", "target", "seed", "trials", "id")
    first, second = (
        [[cell[key] for key in ids] for cell in read(tmp_path / place)["cells"]]
        for place in ("here", "there")
    )
    assert first == second

    again = compared()
    assert (again["measured"], fake[-1].jobs) == (0, [])
    assert again["protocol"]["sealed_touches"] == there["protocol"]["sealed_touches"]


def test_workers_give_the_same_suites_and_record(
    compared: Compared, home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    fake: list[InThisProcess],
) -> None:  # fmt: skip
    more: dict[str, Any] = {
        "methods": "wanda,magnitude", "tune": 0, "pattern": None, "precision": "float32",
        "suite": "lm,reasoning:generators=digits,items=2,shots=0,new_tokens=2",
    }  # fmt: skip
    there = compared(record=str(tmp_path / "there"), **more)
    assert fake[0].jobs and there["dense_measures"]
    with monkeypatch.context() as patch:
        patch.setattr(module, "workers", workers)
        patch.setenv("AUTOPRUNE_HOME", str(home / "serial"))
        here = compared(record=str(tmp_path / "here"), **more)
    assert cells(home / "serial") == cells(home)
    columns = [[row["measures"] for row in made["rows"]] for made in (there, here)]
    assert columns[0] == columns[1] and columns[0][0]
    names = [
        sorted(path.name for path in (tmp_path / place / "cells").glob("*/*.json"))
        for place in ("there", "here")
    ]
    # Four models, of which magnitude's draws are one; the dense one has no distance to itself.
    assert names[0] == names[1] and len(names[0]) == 4 + 4 + 3


def read(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "comparison.json").read_text())
    return found


def test_a_worker_elsewhere_leaves_record_and_look_here_too(
    compared: Compared, home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    fake: list[InThisProcess],
) -> None:  # fmt: skip
    elsewhere = State.open(tmp_path / "elsewhere")

    class OtherMachine:
        @staticmethod
        def open(_root: Path | None) -> State:
            return elsewhere

    monkeypatch.setattr(remote, "State", OtherMachine)
    result = compared(methods="wanda", tune=0)
    assert result["measured"] == 5 and fake[0].jobs
    assert cells(home) == cells(elsewhere.root) and len(cells(home)) == 5
    # Worker and comparison note the same look, and it counts once.
    assert len(looks(home)) == 5


def test_a_worker_with_other_text_or_another_model_refuses(
    compared: Compared, fake: list[InThisProcess]
) -> None:
    compared(methods="wanda", tune=0, draws=1, pattern=None)
    config = fake[0].config
    job = {"call": "cell", "step": "x", "arguments": []}
    for change, shown in (
        ({"parts": config["parts"] | {"sealed": "00" * 32}}, "sealed windows .*digest differs"),
        ({"model_digest": "00" * 32}, "model .*digest differs"),
        ({"computed_by": config["computed_by"] | {"torch": "1"}}, "and the comparison by 1;"),
    ):
        with pytest.raises(AutopruneError, match=shown):
            remote.run_job(job | {"bench": config | change})
        assert not remote._open


def test_what_cannot_be_measured_is_a_row_and_costs_no_worker(
    compared: Compared, fake: list[InThisProcess]
) -> None:
    result = compared(methods="wanda,wanda+ramp", tune=0, draws=1, peer="nowhere/python")
    reasons = {(row["method"], row["target"]): row["reason"] for row in result["rows"]}
    assert "fixes the zeros" in reasons["wanda+ramp", "2:4"]
    assert "no interpreter nowhere/python" in reasons["llm-compressor:wanda", "50 %"]
    assert not any(":" in step.split(" at ")[0] for step in fake[0].jobs)
    assert result["failed"] == 1 + 2 * 2


def test_the_runner_is_no_part_of_the_comparison() -> None:
    plain = CompareParams(model="m", methods="wanda")
    name = CompareParams(model="m", methods="wanda", runner="dask", workers=7).folder_name()
    assert name == plain.folder_name()
    for fields in ({"workers": 3}, {"runner_address": "tcp://scheduler:8786"}):
        with pytest.raises(UsageError, match="of the runner dask"):
            checked(CompareParams, fields)
    with pytest.raises(UsageError, match="runner_address"):
        checked(CompareParams, {"runner": "dask", "runner_address": "tcp://me:secret@host:8786"})


class Waiting:
    """A future of a runner, and whether it was cancelled."""

    def __init__(self) -> None:
        self.wrapped_future = self
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


def test_an_interrupt_leaves_no_job_waiting_and_never_reaches_what_the_runner_starts() -> None:
    futures: list[Waiting] = []
    ignored: list[bool] = []

    class Runner:
        def submit(self, _task: Any, parameters: dict[str, Any]) -> Waiting:
            ignored.append(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)
            if len(futures) == 1:
                # Held back until the submission is whole, so that nothing in it is cut.
                signal.raise_signal(signal.SIGINT)
            futures.append(Waiting())
            return futures[-1]

    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    jobs = [(number, "cell", "title", []) for number in range(4)]
    with pytest.raises(KeyboardInterrupt):
        list(Workers(Runner(), {}).run(jobs))
    assert [future.cancelled for future in futures] == [True, True]
    # The first job starts the processes of a cluster.
    assert ignored == [True, False]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_an_interrupt_that_pydantic_swallows_is_an_interrupt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Fragile(BaseModel):
        @model_serializer
        def broken(self) -> str:
            raise KeyboardInterrupt

    class Flow:
        def fn(self) -> None:
            Fragile().model_dump_json()

        def with_options(self) -> "Flow":
            return self

        def __call__(self) -> None:
            self.fn()

    # Without an API's address, Prefect would start a server to be asked about other runs.
    monkeypatch.setattr(Engine, "_mark_stale_runs", lambda _: None)
    engine = Engine(State.open(tmp_path), Screen(), None)
    with pytest.raises(KeyboardInterrupt):
        engine._recorded(Flow())


def test_killed_runs_end_in_mlflow_without_prefect_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, ended = State.open(tmp_path), list[State]()
    monkeypatch.setattr("tasks.mirror.end_killed", ended.append)
    engine = Engine(state, Screen(), None, recorded=False)
    body = SimpleNamespace(fn=lambda: {"figure": 1})
    assert engine.call(body)["figure"] == 1 and ended == []
    (state.root / "open_runs").mkdir(parents=True)
    note = {"process": f"{socket.gethostname()}/4000000/1.00", "store": state.tracking_place}
    (state.root / "open_runs" / "abc.json").write_text(json.dumps(note))
    assert engine.call(body)["figure"] == 1 and ended == [state]


@pytest.mark.slow
def test_dask_gives_the_same_records_and_an_interrupt_its_table(
    cli: CommandLine, migrated: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    home = migrated
    pytest.importorskip("prefect_dask")
    here, there = tmp_path / "here", tmp_path / "there"
    # In the second wave, since it has half of its cells.
    held = hold(tmp_path / "held", monkeypatch, free=HELD_CELLS // 2 * LAYERS)
    methods = "wanda,magnitude,wanda+ramp,held"
    line = f"{LINE} --methods {methods} --sparsity 0.5 --pattern 2:4 --draws 2 --tune 2"
    words = cli.words(f"{line} --json --out {there} --runner dask --workers 2")
    monkeypatch.setenv("AUTOPRUNE_PREFECT", "on")
    # A group of its own, as a terminal makes one: Ctrl-C there reaches the workers too.
    run = start(words, held.environment)
    until(lambda: held.reached or run.poll() is not None, 300, "measurement that is held")
    os.killpg(run.pid, signal.SIGINT)
    _, shown = run.communicate(timeout=300)
    assert run.returncode == 130 and "Traceback" not in shown, shown
    assert "| distributed." not in shown, shown
    cut = read(there)
    assert 0 < cut["finished"] < cut["planned"]
    # Dense, two trials, the first draw of each method and target that is not tuned, and more.
    finished = len(cells(home))
    assert finished > 3 + 6
    assert "unfinished" in (there / "comparison.md").read_text()

    # Cells of one runner are cells of every other.
    monkeypatch.setenv("AUTOPRUNE_PREFECT", "off")
    second = cli.record(f"{line} --out {there}")
    monkeypatch.setenv("AUTOPRUNE_HOME", str(home / "serial"))
    monkeypatch.setenv("AUTOPRUNE_LEDGER", ledger(home / "serial"))
    first = cli.record(f"{line} --out {here}")
    assert cells(home / "serial") == cells(home)
    assert looks(home / "serial") == looks(home)
    assert second["measured"] == first["measured"] - finished and first["measured"] == len(
        cells(home)
    )
    assert (here / "comparison.tex").read_bytes() == (there / "comparison.tex").read_bytes()
    assert first["overview"] == second["overview"]
    ids = [[cell["id"] for cell in read(place)["cells"]] for place in (here, there)]
    assert ids[0] == ids[1]
