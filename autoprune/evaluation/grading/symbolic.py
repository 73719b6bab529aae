"""The symbolic check in a child process that is killed at its deadline."""

import json
import os
import select
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from autoprune.errors import PrerequisiteError
from autoprune.evaluation.grading.syntax import AnswerNode

DEFAULT_TIMEOUT = 3.0
_START_SECONDS = 60.0
_LONGEST_REPLY = 4096
_CHILD = Path(__file__).with_name("sympy_child.py")


@dataclass(frozen=True)
class SymbolicResult:
    """Outcome of one check.

    Args:
        equal: Whether the two are equal; False when the check did not finish.
        code: ``symbolic``, ``timeout`` or ``failed`` (the child gave up or died).
    """

    equal: bool
    code: str


class SymbolicChecker:
    """Compares expressions by sympy, one warm child at a time; a context manager.

    Signals and threads cannot stop a large integer power inside C code; killing a process can.

    Args:
        timeout: Seconds for one pair, excluding the start of the child.
    """

    def __init__(self, timeout: float = DEFAULT_TIMEOUT) -> None:
        if timeout <= 0:
            raise ValueError(f"timeout {timeout} s is not positive")
        self.timeout = timeout
        self._child: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> "SymbolicChecker":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def equal(self, first: AnswerNode, second: AnswerNode) -> SymbolicResult:
        """Compare two expressions; symmetric, because the pair is sent in a canonical order."""
        pair = sorted([first.to_json(), second.to_json()], key=json.dumps)
        with self._lock:
            child = self._child or self._start()
            assert child.stdin is not None
            try:
                child.stdin.write(json.dumps(pair).encode() + b"\n")
                child.stdin.flush()
            except BrokenPipeError:
                self._stop()
                return SymbolicResult(False, "failed")
            reply = self._read_line(child, self.timeout)
            if not reply:
                late = child.poll() is None
                self._stop()
                return SymbolicResult(False, "timeout" if late else "failed")
        answer = json.loads(reply)
        return SymbolicResult(bool(answer["equal"]), "failed" if "error" in answer else "symbolic")

    def close(self) -> None:
        """End the child."""
        with self._lock:
            self._stop()

    def _start(self) -> subprocess.Popen[bytes]:
        child = subprocess.Popen(
            [sys.executable, "-I", str(_CHILD)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
        )
        self._child = child
        if self._read_line(child, _START_SECONDS) != b"ready":
            self._stop()
            follow = (
                "install sympy (`pip install sympy`)"
                if find_spec("sympy") is None
                else f"it had {_START_SECONDS:g} s; run again when the machine is less busy"
            )
            raise PrerequisiteError(f"the symbolic answer check did not start; {follow}")
        return child

    def _stop(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        child.kill()
        child.wait()
        for stream in (child.stdin, child.stdout):
            if stream is not None:
                stream.close()

    @staticmethod
    def _read_line(child: subprocess.Popen[bytes], seconds: float) -> bytes:
        """One line without its line end; empty if the time runs out or the child ends."""
        assert child.stdout is not None
        deadline = time.monotonic() + seconds
        line = b""
        while not line.endswith(b"\n"):
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([child.stdout], [], [], left)[0]:
                return b""
            data = os.read(child.stdout.fileno(), _LONGEST_REPLY)
            if not data:
                child.wait()
                return b""
            line += data
        return line.strip()
