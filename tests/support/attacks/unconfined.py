"""Runs attempts where nothing holds them: on the host, a process for each.

Whether an attempt does anything at all is seen here: a mistake in it fails alike with walls and
without. As an ordinary user; what the kernel refuses such a user by itself is tried as root, in
namespaces of its own (``unshare``). Needs root:
python unconfined.py FOLDER TEXT user|root < names; prints name and outcome, a line each.
"""

import ctypes
import os
import resource
import select
import signal
import sys
from pathlib import Path
from typing import Any

NOBODY = 65534
_SECONDS = 20
_PR_SET_DUMPABLE = 4


def _prepare(folder: Path) -> None:
    """What a child in a container has by number, but without its limits, and one more."""
    path = folder / "scores"
    path.write_bytes(bytes(1 << 16))
    os.chown(path, NOBODY, NOBODY)
    reading, writing = os.pipe()
    files = (os.open(path, os.O_RDWR), writing, os.open("/dev/null", os.O_RDONLY), reading)
    high = [os.dup2(fd, 100 + number) for number, fd in enumerate(files)]
    os.closerange(3, 100)
    for fd, target in zip(high, (4, 3, 9, 10), strict=True):
        os.dup2(fd, target)
    os.closerange(100, 200)


def _plant(name: str, names: dict[str, Any]) -> None:
    """For what looks for a secret that is not there: put one there."""
    if name[:4] in ("a032", "a106"):
        torch = names["torch"]
        block = torch.frombuffer(bytearray(names["SECRET_MARK"] * 9), dtype=torch.uint8)
        torch.empty = lambda *_, **__: block
    if name[:4] == "a031":
        # The list keeps the collector's eye on the dictionary.
        names["planted"] = {"nonce": [1]}


def _become_nobody() -> None:
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    # Changing the user makes a process undumpable, as no process here is to be.
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)


def main() -> None:
    """Try the attempts that are named on stdin."""
    folder, text, user = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    wanted = sys.stdin.read().split()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    _prepare(folder)
    names: dict[str, Any] = {"__name__": "attempts"}
    exec(compile(text.read_text(encoding="utf-8"), str(text), "exec"), names)
    known = names["all_attempts"](names)
    # Nobody may not be able to read what is imported late.
    import encodings.ascii
    import encodings.idna
    import multiprocessing.popen_fork

    import torch.distributed
    import torch.multiprocessing

    assert encodings.ascii and encodings.idna and multiprocessing.popen_fork
    assert torch.distributed and torch.multiprocessing
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 << 30, 2 << 30))
    resource.setrlimit(resource.RLIMIT_AS, (16 << 30, 16 << 30))
    for name in wanted:
        ear, mouth = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.setsid()
                os.dup2(9, 1)
                _plant(name, names)
                if user == "user":
                    _become_nobody()
                os.write(mouth, names["outcome"](known[name]).encode())
            finally:
                os._exit(0)
        os.close(mouth)
        heard = select.select([ear], [], [], _SECONDS)[0]
        shown = os.read(ear, 100) if heard else b"waits"
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(ear)
        print(name, (shown or b"ended").decode(), flush=True)


if __name__ == "__main__":
    main()
