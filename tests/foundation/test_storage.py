"""Atomic writes leave the old content or the new, never half."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from autoprune.errors import AutopruneError
from autoprune.storage import atomic_file, atomic_folder, write_json, write_text


def test_text_is_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "note.txt"
    write_text(target, "one")
    write_text(target, "two ü")
    assert target.read_text(encoding="utf-8") == "two ü"
    assert list(target.parent.iterdir()) == [target]


def test_json_is_stable(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": 1, "a": 2})
    write_json(tmp_path / "b.json", {"a": 2, "b": 1})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "note.txt"
    write_text(target, "old")
    with pytest.raises(RuntimeError), atomic_file(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError("stop")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_full_disk_is_a_clear_error(tmp_path: Path) -> None:
    target = tmp_path / "note.txt"
    with pytest.raises(AutopruneError, match=r"note\.txt.*No space left"), atomic_file(target):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    for write in (atomic_file, atomic_folder):
        for name in ("file/new", "file/deep/new"):
            refused = pytest.raises(AutopruneError, match=rf"could not write .*{name} \(")
            with refused, write(tmp_path / name):
                pass


def test_folder_is_swapped_whole(tmp_path: Path) -> None:
    target = tmp_path / "model"
    for text in ("one", "two"):
        with atomic_folder(target) as temporary:
            (temporary / f"{text}.txt").write_text(text)
    assert [path.name for path in target.iterdir()] == ["two.txt"]
    assert list(tmp_path.iterdir()) == [target]


def test_failed_folder_keeps_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "model"
    with atomic_folder(target) as temporary:
        (temporary / "good").write_text("good")
    with pytest.raises(AutopruneError, match="No space"), atomic_folder(target) as temporary:
        (temporary / "half").write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert [path.name for path in target.iterdir()] == ["good"]
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("comes_back", [True, False])
def test_a_folder_that_cannot_be_swapped_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, comes_back: bool
) -> None:
    target = tmp_path / "model"
    with atomic_folder(target) as temporary:
        (temporary / "good").write_text("good")
    monkeypatch.setattr("autoprune.storage._exchange", lambda *_: False)
    rename = Path.rename

    def refusing(self: Path, to: Path) -> Path:
        # The old folder moves away, the new one may not come.
        if to == target and not (comes_back and self.name.endswith("-old")):
            raise OSError(errno.EACCES, "Permission denied")
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", refusing)
    shown = "nothing was changed" if comes_back else r"is in .*-old now"
    refused = pytest.raises(AutopruneError, match=f"Permission denied.*{shown}")
    with refused, atomic_folder(target) as temporary:
        (temporary / "new").write_text("new")
    (left,) = tmp_path.iterdir()
    assert (left == target) is comes_back
    assert [path.name for path in left.iterdir()] == ["good"]


@pytest.mark.parametrize("exchanges", [True, False])
def test_a_folder_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchanges: bool
) -> None:
    target = tmp_path / "model"
    with atomic_folder(target) as temporary:
        (temporary / "old").write_text("old")
    if not exchanges:
        monkeypatch.setattr("autoprune.storage._exchange", lambda *_: False)
    flushed: list[tuple[str, str, int]] = []
    fsync = os.fsync

    def recording(handle: int) -> None:
        place = Path(f"/proc/self/fd/{handle}").readlink()
        flushed.append((place.name, next(target.iterdir()).name, len(list(tmp_path.iterdir()))))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", recording)
    with atomic_folder(target) as temporary:
        (temporary / "weights").write_bytes(b"w" * 100)
        (temporary / "deep").mkdir()
        (temporary / "deep" / "more").write_text("more")
    *before, last = flushed
    assert {name for name, _, _ in before} == {"weights", "more", "deep", temporary.name}
    # The old one stands all that time, and is deleted only when the new name is on the disk.
    assert all(old == "old" and count == 2 for _, old, count in before)
    assert last[0] == tmp_path.name and last[1] != "old" and last[2] == 2
    assert list(tmp_path.iterdir()) == [target]


KILLED = """
import os, signal, sys
from pathlib import Path
from autoprune import storage
target, event, number, exchanges = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
if exchanges == "no":
    storage._exchange = lambda *_: False
seen = 0
def hook(name, _):
    global seen
    seen += name == event
    if name == event and seen == number:
        os.kill(os.getpid(), signal.SIGKILL)
with storage.atomic_folder(target) as temporary:
    (temporary / "new").write_text("new")
    sys.addaudithook(hook)
"""


@pytest.mark.parametrize(
    ("event", "number", "exchanges", "stands"),
    [
        ("os.chmod", 1, "yes", "old"),
        ("ctypes.dlsym", 1, "yes", "old"),
        ("shutil.rmtree", 1, "yes", "new"),
        ("os.rename", 1, "no", "old"),
        ("os.rename", 2, "no", None),
        ("shutil.rmtree", 1, "no", "new"),
    ],
)
def test_a_kill_while_a_folder_is_replaced_loses_neither(
    tmp_path: Path, event: str, number: int, exchanges: str, stands: str | None
) -> None:
    target = tmp_path / "model"
    with atomic_folder(target) as temporary:
        (temporary / "old").write_text("old")
    words = [str(target), event, str(number), exchanges]
    done = subprocess.run([sys.executable, "-c", KILLED, *words], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    if stands is not None:
        assert [path.name for path in target.iterdir()] == [stands]
    left = {path.name for folder in tmp_path.iterdir() for path in folder.iterdir()}
    assert left == {"old", "new"}
    with atomic_folder(target) as temporary:
        (temporary / "next").write_text("next")
    assert [path.name for path in target.iterdir()] == ["next"]
    kept = [path for path in tmp_path.iterdir() if path != target]
    assert all(path.name.endswith("-old") for path in kept)
    # Between two renames what lay there has only its other name.
    assert kept or (number, exchanges) != (2, "no")


def test_only_what_nobody_writes_any_more_is_removed(tmp_path: Path) -> None:
    target, left = tmp_path / "model[1]", tmp_path / ".model[1].saving-abcdefgh"
    others = [".model[1]-original", ".model1.saving-abcdefgh", ".model[1].saving-abcdefgh-old"]
    for name in (left.name, *others):
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights").write_text("as large as a model")
    with atomic_folder(target) as slow:
        assert not left.exists()
        (slow / "slow").write_text("slow")
        with atomic_folder(target) as quick:
            (quick / "quick").write_text("quick")
        assert (slow / "slow").is_file()
    assert [path.name for path in target.iterdir()] == ["slow"]
    assert {path.name for path in tmp_path.iterdir()} == {target.name, *others}


def test_a_large_file_clears_what_a_killed_writer_left(tmp_path: Path) -> None:
    path = tmp_path / "x[1].gguf"
    left, others = tmp_path / ".x[1].saving-abcdefgh.gguf", (".x1.saving-abcdefgh.gguf", "x[1].txt")
    for name in (left.name, *others):
        (tmp_path / name).write_text("half")
    with atomic_file(path) as temporary:
        temporary.write_text("whole")
    assert left.exists()
    with atomic_file(path, large=True) as first:
        assert not left.exists()
        first.write_text("being written")
        # The other one is being written and holds its lock.
        with atomic_file(path, large=True) as second:
            second.write_text("another")
        assert first.read_text() == "being written"
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*others, path.name])
    assert path.read_text() == "being written"


def test_a_link_to_a_folder_stays_a_link(tmp_path: Path) -> None:
    disk, link = tmp_path / "disk", tmp_path / "model"
    with atomic_folder(disk) as temporary:
        (temporary / "old").write_text("old")
    link.symlink_to(disk)
    with atomic_folder(link) as temporary:
        (temporary / "new").write_text("new")
    assert link.is_symlink() and [path.name for path in disk.iterdir()] == ["new"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["disk", "model"]
