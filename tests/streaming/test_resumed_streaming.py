"""A streamed run that was interrupted goes on where it was and gives the same bytes."""

import errno
import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from autoprune.errors import AutopruneError, UsageError
from autoprune.metrics import build_metric
from autoprune.pruning import PruningPlan
from autoprune.streaming import StreamedModel, StreamJob, prune_streamed, shards
from autoprune.streaming import prune as prune_module
from autoprune.streaming.hidden import HiddenFile
from autoprune.streaming.job import OpenJob
from autoprune.streaming.shards import Checkpoint, ShardWriter
from tests.support.tiny_models import random_windows, tiny_model

ROOT = Path(__file__).parents[2]

# Every run is a fork of a process that has imported torch and computed nothing.
KILLED = """
import json, os, signal, sys
from pathlib import Path
from autoprune.metrics import build_metric
from autoprune.pruning import PruningPlan
from autoprune.streaming import StreamJob, job, prune, prune_streamed, unfinished
from autoprune.streaming.hidden import HiddenFile
from autoprune.streaming.shards import ShardWriter
from tests.support.tiny_models import random_windows

source, out, options, places = Path(sys.argv[1]), Path(sys.argv[2]), *map(json.loads, sys.argv[3:])
owners = {"job": job.OpenJob, "hidden": HiddenFile, "shards": ShardWriter, "path": Path}
owners |= {"prune": prune, "unfinished": unfinished}

def run(target, place):
    if place is not None:
        owner, name, number = owners[place[0]], *place[1:]
        real, calls = getattr(owner, name), 0
        def counted(*args, **rest):
            nonlocal calls
            calls += 1
            if calls == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **rest)
        setattr(owner, name, counted)
    plan = PruningPlan.build(0.5, scoring="sequential", **options)
    made = StreamJob(source, random_windows(4, 12), build_metric("wanda"), plan, device="cpu")
    return prune_streamed(made, target).resumed

def forked(target, place):
    child = os.fork()
    if not child:
        os._exit(run(target, place))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

codes, done = [forked(out / "whole", None)], []
for place in [*places, None]:
    codes.append(forked(out / "killed", place))
    record = out / "killed.partial" / "progress.json"
    done.append(len(json.loads(record.read_text())["blocks"]) if record.exists() else None)
print(json.dumps([codes, done]))
"""


@pytest.mark.parametrize(
    ("family", "options", "places", "done"),
    [
        (
            "llama",
            {"repair": "mrp+ebft:epochs=1", "allocation": "owl"},
            [
                ("job", "context", 1),
                # The pass of the allocator writes 16 states. Then 4 are written of either model,
                # and for every block 8 of the goals, 4 of the dense model and 4 that go on.
                ("hidden", "_write", 16 + 8 + 10),
                ("hidden", "_write", 8 + 16 + 14),
                ("shards", "write", 3),
                ("path", "replace", 2),
                ("prune", "count_zeros", 1),
                ("unfinished", "swap_folder", 1),
            ],
            [0, 0, 1, 1, 1, 3, 3, None],
        ),
        (
            "mixtral",
            {"repair": "sparsegpt", "group": "matrix"},
            [("hidden", "_write", 2), ("unfinished", "write_json", 4), ("shards", "write", 1)],
            [0, 2, 2, None],
        ),
    ],
)
def test_a_killed_run_goes_on_and_gives_the_same_bytes(
    family: str,
    options: dict[str, str],
    places: list[tuple[str, str, int]],
    done: list[int | None],
    tmp_path: Path,
) -> None:
    tiny_model(family).save_pretrained(tmp_path / "in", max_shard_size="5kB")
    words = [tmp_path / "in", tmp_path, json.dumps(options), json.dumps(places)]
    ran = subprocess.run(
        [sys.executable, "-c", KILLED, *map(str, words)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    # The exit status of a run that comes to its end is the number of blocks that it found done.
    resumed = [count for count in done if count is not None][-1]
    assert json.loads(ran.stdout) == [[0, *[-9] * len(places), resumed], done], ran.stderr
    assert bytes_of(tmp_path / "killed") == bytes_of(tmp_path / "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "killed", "whole"]


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    tiny_model("llama").save_pretrained(tmp_path / "in", max_shard_size="5kB")
    return tmp_path / "in"


def streamed(source: Path, out: Path, sparsity: float = 0.5) -> StreamedModel:
    plan = PruningPlan.build(sparsity, scoring="sequential")
    metric, windows = build_metric("wanda"), random_windows(2, 8)
    return prune_streamed(StreamJob(source, windows, metric, plan, device="cpu"), out)


def interrupt(source: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Leave a run with one block done."""
    write = prune_module.write_block

    def stop(opened: OpenJob, index: int, writer: ShardWriter) -> dict[str, str]:
        if index == 1:
            raise KeyboardInterrupt
        return write(opened, index, writer)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(prune_module, "write_block", stop)
        streamed(source, out)
    assert not out.exists()
    return out.with_name(f"{out.name}.partial")


def test_what_is_damaged_or_of_another_run_begins_anew(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, whole = tmp_path / "out", tmp_path / "whole"
    streamed(source, whole)

    def flip(path: Path, at: int) -> None:
        raw = bytearray(path.read_bytes())
        raw[at] ^= 1
        path.write_bytes(raw)

    for damage in ("nothing", "shard", "states", "note"):
        partial = interrupt(source, out, monkeypatch)
        if damage == "shard":
            entry = Checkpoint(source).entries["model.layers.0.mlp.down_proj.weight"]
            flip(partial / "model" / entry.file, entry.start)
        elif damage == "states":
            # Of the two places the second holds what came after the last note.
            flip(partial / "hidden", 0)
        elif damage == "note":
            (partial / "progress.json").write_text("{")
        made = streamed(source, out)
        assert made.resumed == (1 if damage == "nothing" else 0), damage
        assert any("started over" in note for note in made.notes) == (damage != "nothing")
        assert bytes_of(out) == bytes_of(whole) and not partial.exists()
        shutil.rmtree(out)
    partial = interrupt(source, tmp_path / "other", monkeypatch)
    (partial / "model" / "old.txt").write_text("of a run that is given up")
    assert streamed(source, tmp_path / "other", 0.6).resumed == 0
    assert bytes_of(tmp_path / "other").keys() == bytes_of(whole).keys()


@pytest.mark.parametrize(
    ("where", "fault", "shown"),
    [
        (Checkpoint, KeyboardInterrupt(), None),
        (HiddenFile, MemoryError(), None),
        (HiddenFile, OSError(errno.EMFILE, "Too many open files"), "Too many open files"),
    ],
)
def test_a_fault_while_progress_is_read_leaves_it(
    where: type,
    fault: BaseException,
    shown: str | None,
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    interrupt(source, tmp_path / "out", monkeypatch)
    expected = AutopruneError if shown else type(fault)
    with monkeypatch.context() as patch, pytest.raises(expected, match=shown):
        patch.setattr(where, "read" if where is Checkpoint else "_read", raises(fault))
        streamed(source, tmp_path / "out")
    assert streamed(source, tmp_path / "out").resumed == 1


def raises(fault: BaseException) -> Callable[..., None]:
    def call(*_: object) -> None:
        raise fault

    return call


@pytest.mark.parametrize("vanished", [True, False])
def test_a_shard_that_cannot_be_read_is_named(
    vanished: bool, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, shard = prune_module.write_block, source / Checkpoint(source).files[-1]

    def damage(opened: OpenJob, index: int, writer: ShardWriter) -> dict[str, str]:
        if not vanished:
            patch.setattr(shards, "read_all", raises(OSError(errno.EIO, "Input/output error")))
        elif index == 0:
            shard.rename(tmp_path / "away")
        return write(opened, index, writer)

    reason = "No such file" if vanished else "Input/output error"
    with monkeypatch.context() as patch:
        patch.setattr(prune_module, "write_block", damage)
        with pytest.raises(AutopruneError, match=f"could not read {source}/model-.*{reason}"):
            streamed(source, tmp_path / "out")
    if vanished:
        (tmp_path / "away").rename(shard)
    assert streamed(source, tmp_path / "out").resumed > 0


def test_another_process_and_another_folder_are_left_alone(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    partial = interrupt(source, tmp_path / "out", monkeypatch)
    with (partial / "lock").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(UsageError, match="another process works in"):
            streamed(source, tmp_path / "out")
    assert streamed(source, tmp_path / "out").resumed == 1
    (tmp_path / "mine.partial").mkdir()
    (tmp_path / "mine.partial" / "thesis.txt").write_text("no copy of it")
    with pytest.raises(UsageError, match="holds something else"):
        streamed(source, tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine.partial").iterdir()] == ["thesis.txt"]


def test_what_was_kept_stays_until_the_next_time(tmp_path: Path) -> None:
    cpu, old, new = torch.device("cpu"), torch.ones(2, 3), torch.zeros(2, 3)
    with (tmp_path / "states").open("w+b", buffering=0) as file:
        states = HiddenFile(file, cpu)
        states.extend([old, old])
        kept = states.keep()
        states[0] = new
        states[0] = 2 * new
        # A type of fewer bytes, as blocks whose products are rounded may give.
        states[1] = new.bfloat16()
        assert states[1].dtype == torch.bfloat16
        assert all(torch.equal(state, old) for state in HiddenFile(file, cpu, kept))
        again = HiddenFile(file, cpu, states.keep())
        assert not again[0].any() and torch.equal(again[1], new.bfloat16())
        again[1] = old
        assert not states[0].any() and torch.equal(states[1], new.bfloat16())
        with pytest.raises(ValueError, match="slot 0 holds float32"):
            again[0] = torch.ones(3, 3)
