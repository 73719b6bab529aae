"""What the host itself opens, starts and maps: none of it may be decided by others."""

import ctypes
import importlib.util
import mmap
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox.exchange import OWNER_FILE, job_folder, remove_abandoned
from sandbox.ownership import owner_is_gone, this_process
from sandbox.result_files import ResultFile

# A process of this machine, before it was last started.
GONE = f"{this_process().partition(':')[0]}:another-boot:1:2:3"
ROOT = Path(__file__).parents[2]
NOBODY = 65534


@pytest.mark.parametrize("by", ["current folder", "empty entry of PYTHONPATH", "PYTHONPATH"])
def test_a_hostile_folder_runs_nothing_while_the_image_is_made(by: str, tmp_path: Path) -> None:
    for name in ("numpy", "torch", "json", "safetensors", "ctypes", "sitecustomize"):
        mark = tmp_path / f"{name}.ran"
        (tmp_path / f"{name}.py").write_text(f"open({str(mark)!r}, 'w')\n", encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    # The parent is safe; what it starts has to be so without its help.
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); "
    if by != "current folder":
        value = ":" if by.startswith("empty") else str(tmp_path)
        code += f"import os; os.environ['PYTHONPATH'] = {value!r}; "
    code += "from sandbox.contents import find_contents; found = find_contents(); "
    code += "print(len(found.folders), *(target for _, target in found.files))"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    folders, *files = done.stdout.split()
    assert int(folders) > 3
    # No container has to compile a package that is one file.
    module = "/opt/autoprune/packages/typing_extensions.py"
    assert {module, importlib.util.cache_from_source(module)} <= set(files)
    assert [path.name for path in tmp_path.glob("*.ran")] == []


def fake_workspace(root: Path, name: str) -> Path:
    folder = root / f".autoprune-cells-{name}"
    folder.mkdir(mode=0o700)
    return folder


SCAN = """
import sys
from pathlib import Path
from sandbox.exchange import remove_abandoned
from sandbox.ownership import owner_is_gone
print(remove_abandoned(Path(sys.argv[1]), owner_is_gone))
"""


def test_a_pipe_in_the_place_of_an_owner_holds_nobody(tmp_path: Path) -> None:
    os.mkfifo(fake_workspace(tmp_path, "pipe") / OWNER_FILE)
    os.mkfifo(tmp_path / ".autoprune-cells-itself")
    dead = fake_workspace(tmp_path, "dead")
    (dead / OWNER_FILE).write_text(GONE, encoding="utf-8")
    command = [sys.executable, "-c", SCAN, str(tmp_path)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=200
    )
    assert done.stdout == "1\n"
    assert not dead.exists()


KILLED = """
import os, signal, sys
from pathlib import Path
from sandbox.exchange import job_folder
with job_folder(Path(sys.argv[1])) as folder:
    (folder / "0.safetensors").write_bytes(b"layer")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_layers_of_a_killed_process_are_removed_and_those_of_a_live_one_stay(
    tmp_path: Path,
) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    assert subprocess.run(command, cwd=ROOT, check=False, timeout=200).returncode == -9
    (left,) = tmp_path.iterdir()
    with job_folder(tmp_path) as own:
        assert remove_abandoned(tmp_path, owner_is_gone) == 1
        assert list(tmp_path.iterdir()) == [own] != [left]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a file to another user needs root")
@pytest.mark.parametrize("which", ["folder", "file", "link"])
def test_what_another_user_made_is_neither_opened_nor_removed(which: str, tmp_path: Path) -> None:
    folder = fake_workspace(tmp_path, "theirs")
    file = folder / OWNER_FILE
    if which == "link":
        (folder / "other").write_text(GONE, encoding="utf-8")
        file.symlink_to("other")
    else:
        file.write_text(GONE, encoding="utf-8")
        os.chown(folder if which == "folder" else file, NOBODY, NOBODY)
    assert remove_abandoned(tmp_path, owner_is_gone) == 0
    assert folder.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_hole_in_a_result_does_not_end_the_host(tmp_path: Path) -> None:
    """A full file system in memory, a result with a hole: a look at the mapping would be fatal."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("no file system can be mounted here")
    try:
        done = subprocess.run(
            [sys.executable, "-c", HOLE, str(disk)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=200,
        )
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
    assert done.returncode == 0, (done.returncode, done.stderr[-300:])
    assert done.stdout.split() == ["full", "0.0", "7.0"]


# The file is larger than the result, as a file that is used again may be: counting its blocks
# would not show the hole.
HOLE = """
import ctypes, sys
from pathlib import Path
import numpy as np
from sandbox.exchange import Exchange, Workspace
from sandbox.ownership import this_process
disk = Path(sys.argv[1])
count = 1 << 18
workspace = Workspace(disk, this_process(), results=disk)
exchange = Exchange(workspace)
exchange.prepare([], 16 * count)
exchange.result.write_bytes(np.full(4 * count, 7, np.float32).tobytes())
with exchange.result.open("r+b") as file:
    libc, long = ctypes.CDLL(None), ctypes.c_long
    assert libc.fallocate(file.fileno(), 3, long(0), long(2 * count)) == 0
with (disk / "rest").open("wb", buffering=0) as file:
    try:
        while True:
            file.write(bytes(4096))
    except OSError:
        print("full")
scores = exchange.map_result(count)
print(scores[: count // 2].max(), scores[count // 2 :].min())
"""


def test_a_hole_is_copied_and_the_rest_is_mapped(tmp_path: Path) -> None:
    """Also where the file system keeps the file on a disk."""
    file = ResultFile(tmp_path / "result")
    file.make_room(1 << 20)
    file.path.write_bytes(b"\1" * (1 << 20))
    found = file.map(1 << 18)
    assert found is not None
    assert isinstance(found[1], mmap.mmap)
    with file.path.open("r+b") as stream:
        sizes = (ctypes.c_long(0), ctypes.c_long(1 << 16))
        if ctypes.CDLL(None).fallocate(stream.fileno(), 3, *sizes) != 0:
            pytest.skip("this file system makes no holes")
    found = file.map(1 << 18)
    assert found is not None
    assert found[1] is None
    file.discard()
