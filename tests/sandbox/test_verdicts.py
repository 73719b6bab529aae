"""What the host judges by itself, and the small parts that it stands on."""

import io
import os
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file

from sandbox.codes import Code
from sandbox.errors import SandboxBrokenError
from sandbox.exchange import Exchange, Workspace, remove_abandoned
from sandbox.limits import Limits
from sandbox.ownership import is_orphan, owner_is_gone, this_process
from sandbox.packing import add_tree
from sandbox.probe_layers import SHAPES, probe_tensors, write_probe_layers
from sandbox.verdicts import clean_text, judge_repeat, judge_scores
from sandbox.worker.syscalls import build_filter


def ramp(rows: int = 20, columns: int = 30) -> np.ndarray:
    return np.arange(rows * columns, dtype=np.float32).reshape(rows, columns)


def test_good_scores_pass() -> None:
    assert judge_scores(ramp(), 0, 16) is None
    assert judge_scores(ramp(1, 3), 0, 16) is None


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_bad_number_is_found(value: float) -> None:
    scores = ramp()
    scores[7, 11] = value
    verdict = judge_scores(scores, 4, 16)
    assert verdict is not None
    assert verdict[0] is Code.NAN_SCORES
    assert "layer 4: 1 of 600" in verdict[1]


def test_few_distinct_values_are_found_and_counted() -> None:
    verdict = judge_scores(ramp() % 5, 0, 16)
    assert verdict is not None
    assert verdict[0] is Code.CONSTANT_SCORES
    assert "5 distinct scores among 600" in verdict[1]


def test_scores_of_a_model_need_only_be_finite() -> None:
    assert judge_scores(ramp() * 0, 0, None) is None
    verdict = judge_scores(ramp() * np.float32(np.nan), 0, None)
    assert verdict is not None and verdict[0] is Code.NAN_SCORES


def test_distinct_values_outside_the_sample_count() -> None:
    scores = np.zeros((1000, 1000), np.float32)
    scores[3, :20] = np.arange(20)
    assert judge_scores(scores, 0, 16) is None


def test_a_repeat_must_be_equal_to_the_bit() -> None:
    first = [ramp(), ramp()]
    second = [ramp(), ramp()]
    assert judge_repeat(first, second) is None
    second[1][2, 2] = np.nextafter(second[1][2, 2], np.float32(np.inf))
    verdict = judge_repeat(first, second)
    assert verdict is not None
    assert verdict[0] is Code.NONDETERMINISTIC
    assert "layer 1: 1 of 600" in verdict[1]


@given(st.text(max_size=900))
def test_hostile_text_becomes_one_short_printable_line(text: str) -> None:
    line = clean_text(text)
    assert len(line) <= 400
    assert line.isprintable()
    line.encode("utf-8")


def test_text_is_kept_where_it_is_harmless() -> None:
    assert (
        clean_text("line 3: ValueError: größer\n\x1b[31m  x") == "line 3: ValueError: größer [31m x"
    )


def test_probe_layers_are_the_same_everywhere_and_finite() -> None:
    for index, shape in enumerate(SHAPES):
        tensors = probe_tensors(index)
        assert tensors["W"].shape == shape == tensors["grad_norm"].shape
        assert all(np.isfinite(value).all() for value in tensors.values())
        assert tensors["x_norm"].max() > 5 * np.median(tensors["x_norm"])
        again = probe_tensors(index)
        assert all(np.array_equal(tensors[name], again[name]) for name in tensors)


def test_probe_layers_carry_what_is_named_and_no_more(tmp_path: Path) -> None:
    more = [{"W": np.ones((2, 2), np.float32), "x_max": np.ones(2, np.float32)}]
    layers = write_probe_layers(tmp_path, more, {"x_norm", "x_mean"})
    names = [set(load_file(layer.file)) for layer in layers]
    assert names == [{"W", "x_norm", "x_mean"}] * len(SHAPES) + [{"W"}]


def test_this_process_is_alive_and_strangers_are_left_alone() -> None:
    owner = this_process()
    assert not owner_is_gone(owner)
    machine, boot, namespace, pid, start = owner.split(":")
    assert owner_is_gone(f"{machine}:{boot}:{namespace}:{pid}:{int(start) + 1}")
    assert owner_is_gone(f"{machine}:{boot}:{namespace}:4194999:{start}")
    assert owner_is_gone(f"{machine}:another-boot:{namespace}:{pid}:{start}")
    assert not owner_is_gone(f"{machine}:{boot}:another:{pid}:{int(start) + 1}")
    # On a shared disk, the other machine's boot says nothing.
    assert not owner_is_gone(f"another:another-boot:{namespace}:{pid}:{start}")
    assert not owner_is_gone("nonsense")


def test_orphans_are_late_or_without_owner() -> None:
    labels = {"autoprune.sandbox.owner": this_process()}
    now = time.time()
    assert not is_orphan(labels)
    assert not is_orphan({**labels, "autoprune.sandbox.deadline": str(now + 9)}, now)
    assert is_orphan({**labels, "autoprune.sandbox.deadline": str(now - 9)}, now)
    assert is_orphan({**labels, "autoprune.sandbox.deadline": "x"}, now)


def test_the_exchange_shows_only_the_files_of_the_job(tmp_path: Path) -> None:
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    files = []
    for name in ("a", "b", "c"):
        file = inputs / name
        file.write_text(name, encoding="ascii")
        file.chmod(0o444 if name != "b" else 0o400)
        files.append(file)
    workspace = Workspace(inputs, this_process())
    exchange = Exchange(workspace)
    assert list(exchange.inputs.iterdir()) == []
    names = exchange.prepare([files[0], files[1], files[0]], 1000)
    assert names[0] == names[2] != names[1]
    shown = {path.name: path.read_text(encoding="ascii") for path in exchange.inputs.iterdir()}
    assert shown == {names[0]: "a", names[1]: "b"}
    # The readable one is a link, the other a copy that the container may read.
    assert (exchange.inputs / names[0]).stat().st_ino == files[0].stat().st_ino
    assert (exchange.inputs / names[1]).stat().st_mode & 0o777 == 0o444
    assert exchange.result.stat().st_size == 1000
    exchange.lock()
    assert exchange.result.stat().st_mode & 0o777 == 0o600
    exchange.close(container_gone=True)
    workspace.close()
    assert sorted(path.name for path in inputs.iterdir()) == ["a", "b", "c"]


def test_a_result_file_is_cleared_before_it_is_used_again(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, this_process())
    first = Exchange(workspace)
    first.prepare([], 3 << 20)
    path = first.result
    path.write_bytes(b"x" * (3 << 20))
    first.close(container_gone=True)
    second = Exchange(workspace)
    assert path == second.result
    assert path.read_bytes() == bytes(3 << 20)
    scores = second.read_result(100)
    assert scores is not None
    assert scores.tolist() == [0.0] * 100
    os.truncate(path, 396)
    assert second.read_result(100) is None
    assert second.map_result(100) is None
    # A container that could not be removed may still write: its file is never used again.
    second.close(container_gone=False)
    assert path != Exchange(workspace).result
    workspace.close()


def test_no_room_for_the_scores_is_refused_before_any_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def taken(*_: int) -> None:
        raise AssertionError("memory was taken before the free room was looked at")

    monkeypatch.setattr(os, "posix_fallocate", taken)
    workspace = Workspace(tmp_path, this_process())
    exchange = Exchange(workspace)
    with pytest.raises(SandboxBrokenError, match="free some"):
        exchange.prepare([], 1 << 50)
    exchange.close(container_gone=True)
    workspace.close()


def test_abandoned_folders_go_and_owned_ones_stay(tmp_path: Path) -> None:
    mine = Workspace(tmp_path, this_process())
    machine, _, namespace, pid, start = this_process().split(":")
    dead = Workspace(tmp_path, f"{machine}:another-boot:{namespace}:{pid}:{start}")
    theirs = Workspace(tmp_path, f"another:another-boot:{namespace}:{pid}:{start}")
    assert remove_abandoned(tmp_path, owner_is_gone) == 1
    assert mine.links.exists() and theirs.links.exists()
    theirs.close()
    assert not dead.links.exists()
    mine.close()
    dead.close()


def pack(folder: Path) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=tarfile.PAX_FORMAT) as archive:
        add_tree(archive, folder, "/opt/x")
    return data.getvalue()


def test_packing_is_deterministic_and_leaves_tools_behind(tmp_path: Path) -> None:
    folder = tmp_path / "package"
    (folder / "tests").mkdir(parents=True)
    (folder / "tests" / "a.py").write_text("x = 1\n", encoding="ascii")
    (folder / "b.py").write_text("y = 2\n", encoding="ascii")
    (folder / "protoc-3.1").write_bytes(b"")
    program = folder / "program"
    program.write_bytes(b"#!")
    program.chmod(0o4755)
    one = pack(folder)
    os.utime(folder / "b.py", (5, 5))
    assert pack(folder) == one
    with tarfile.open(fileobj=io.BytesIO(one)) as archive:
        members = {member.name: member for member in archive.getmembers()}
    assert set(members) == {
        "opt/x",
        "opt/x/b.py",
        f"opt/x/__pycache__/b.{__import__('sys').implementation.cache_tag}.pyc",
        "opt/x/program",
    }
    assert members["opt/x/program"].mode == 0o555
    assert all(member.uid == member.mtime == 0 for member in members.values())
    # Bytecode of this machine is checked against times that the archive does not keep.
    (folder / "b.pyc").write_bytes(b"")
    with tarfile.open(fileobj=io.BytesIO(pack(folder / "b.pyc"))) as archive:
        assert archive.getnames() == []


def test_filters_exist_for_both_machines_and_no_other() -> None:
    for machine in ("x86_64", "aarch64"):
        program = build_filter(machine)
        assert len(program) % 8 == 0
        assert 30 < len(program) // 8 < 4096
    with pytest.raises(OSError, match="riscv64"):
        build_filter("riscv64")


def test_limits_refuse_nonsense() -> None:
    with pytest.raises(ValueError, match="pids"):
        Limits(pids=0)
    with pytest.raises(ValueError, match="extra"):
        Limits(network=True)  # type: ignore[call-arg]
