"""PID 1 of the container: reads jobs on stdin, owns the real stdout, answers with frames.

As PID 1 it can be neither killed nor stopped from inside, not even by ``kill(-1, SIGKILL)``, as
long as it installs no signal handler; so there are none, and time is kept in the wait loop. It
ends when stdin closes (the client is gone) or its lifetime is over. It uses the standard library
only; the nonce lives here and in no process that designed code shares memory with.
"""

import fcntl
import os
import selectors
import signal
import socket
import sys
import time
from dataclasses import dataclass, field

from . import zygote
from .child_records import ControlReader
from .protocol import MAX_JOB, Frame, FrameParser, Job, ProtocolError, encode
from .syscalls import set_undumpable

RESULT = "/out/scores"
TAIL = 4096
# Seconds in which a process that the code left may end by itself.
ENDING = 0.5
_CRASHES = frozenset(
    {signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT, signal.SIGSYS}
)


@dataclass
class Verdict:
    """How a job ended: a code, one line of text and the end of what was printed."""

    code: str
    detail: str = ""
    tail: bytearray = field(default_factory=bytearray)


class Broker:
    """Owns the client's stream, the zygote and the clock.

    Args:
        lifetime_s: Seconds after which the container ends by itself.
    """

    def __init__(self, lifetime_s: float) -> None:
        self._end = time.monotonic() + lifetime_s
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        set_undumpable()
        self._result = os.open(RESULT, os.O_WRONLY | os.O_CLOEXEC)
        self._zygote, theirs = socket.socketpair()
        self._zygote_pid = os.fork()
        if self._zygote_pid == 0:
            self._become_zygote(theirs)
        theirs.close()

    def serve(self) -> None:
        """Announce readiness, then answer jobs until the client or the lifetime ends."""
        mark, size = zygote.STATUS.unpack(self._receive(zygote.STATUS.size))
        text = self._receive(size)
        if mark != b"R":
            self._send(encode({"kind": "failed"}, text))
            return
        version = text.decode("ascii", "replace")
        python = ".".join(str(part) for part in sys.version_info[:3])
        self._send(encode({"kind": "ready", "python": python, "torch": version, "filter": "on"}))
        parser = FrameParser(MAX_JOB)
        while True:
            if not self._readable(0):
                return
            data = os.read(0, 1 << 16)
            if not data:
                return
            for frame in parser.feed(data):
                self._answer(frame)

    def _become_zygote(self, broker: socket.socket) -> None:
        try:
            null = os.open("/dev/null", os.O_RDWR)
            for fd in (0, 1, 2):
                os.dup2(null, fd)
            kept = os.dup2(broker.fileno(), 3)
            os.closerange(4, 4096)
            zygote.serve(socket.socket(fileno=kept))
        finally:
            os._exit(0)

    def _answer(self, frame: Frame) -> None:
        identity = {"job": str(frame.header["job"]), "nonce": str(frame.header["nonce"])}
        job = Job.from_bytes(frame.payload)
        deadline = min(time.monotonic() + job.wall_s, self._end)
        verdict = Verdict("incomplete", "no layer was asked for")
        for part in job.parts:
            verdict = self._run(part, deadline)
            if verdict.code == "ok":
                verdict = self._clean(verdict)
            if verdict.code != "ok":
                break
        tail = bytes(verdict.tail[-TAIL:]).decode("utf-8", "replace")
        payload = f"{verdict.detail}\n\0{tail}".encode("utf-8", "replace")
        self._send(encode({"kind": "done", **identity, "code": verdict.code}, payload))

    def _run(self, job: Job, deadline: float) -> Verdict:
        capture, capture_in = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        control, control_in = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        for fd in (capture_in, control_in):
            os.set_blocking(fd, True)
        # Every child has this open file: its position and flags would tell one what another left.
        os.lseek(self._result, 0, os.SEEK_SET)
        fcntl.fcntl(self._result, fcntl.F_SETFL, 0)
        try:
            self._hand_over(job, (capture_in, control_in, self._result))
        finally:
            os.close(capture_in)
            os.close(control_in)
        try:
            return self._watch(job, deadline, (capture, control))
        finally:
            os.close(capture)
            os.close(control)

    def _hand_over(self, job: Job, fds: tuple[int, int, int]) -> None:
        data = job.to_bytes()
        prefix = zygote.LENGTH.pack(len(data), job.syscall_filter)
        socket.send_fds(self._zygote, [prefix], fds)
        self._zygote.sendall(data)

    def _watch(self, job: Job, deadline: float, pipes: tuple[int, int]) -> Verdict:
        capture, control = pipes
        reader = ControlReader(job.order)
        verdict = Verdict("ok")
        printed = 0
        with selectors.DefaultSelector() as selector:
            for fd in (0, capture, control, self._zygote.fileno()):
                selector.register(fd, selectors.EVENT_READ)
            while True:
                left = deadline - time.monotonic()
                if left <= 0:
                    verdict.code = "timeout"
                    verdict.detail = f"not done after {job.wall_s:g} s"
                    return verdict
                ready = {key.fd for key, _ in selector.select(left)}
                if 0 in ready:
                    # The client speaks once per job: more bytes, or their end, mean it is gone.
                    os._exit(0)
                if capture in ready:
                    data = os.read(capture, 1 << 16)
                    printed += len(data)
                    verdict.tail = (verdict.tail + data)[-TAIL:]
                    if not data:
                        selector.unregister(capture)
                    if printed > job.output_bytes:
                        verdict.code = "output_flood"
                        verdict.detail = f"printed more than {job.output_bytes} bytes"
                        return verdict
                if control in ready and not _relay(control, reader):
                    selector.unregister(control)
                if reader.broken:
                    verdict.code, verdict.detail = "protocol", reader.broken
                    return verdict
                if self._zygote.fileno() in ready:
                    status = self._zygote.recv(zygote.STATUS.size)
                    while _relay(control, reader):
                        continue
                    verdict.tail = (verdict.tail + _rest(capture))[-TAIL:]
                    return _judge(status, reader, verdict, job.processor_s)

    def _clean(self, verdict: Verdict) -> Verdict:
        # What is about to end takes a moment on a busy machine; what then runs was left on purpose.
        deadline = time.monotonic() + ENDING
        while (alive := self._alive()) and time.monotonic() < deadline:
            time.sleep(0.01)
        if alive:
            verdict.code = "leftover_processes"
            verdict.detail = f"{len(alive)} processes were still running after the code returned"
        return verdict

    def _alive(self) -> list[int]:
        """Orphans of the child, which belong to PID 1 now, without those that have ended."""
        alive = []
        for pid in _processes():
            if pid in (1, self._zygote_pid):
                continue
            try:
                if os.waitpid(pid, os.WNOHANG)[0] == 0:
                    alive.append(pid)
            except ChildProcessError:
                alive.append(pid)
        return alive

    def _receive(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            if not self._readable(self._zygote.fileno()):
                os._exit(0)
            part = self._zygote.recv(size - len(data))
            if not part:
                self._send(encode({"kind": "failed"}, b"the zygote ended while importing torch"))
                os._exit(1)
            data += part
        return bytes(data)

    def _readable(self, fd: int) -> bool:
        """Wait for ``fd``; False when the lifetime or, while waiting elsewhere, stdin is over."""
        with selectors.DefaultSelector() as selector:
            selector.register(fd, selectors.EVENT_READ)
            if fd != 0:
                selector.register(0, selectors.EVENT_READ)
            ready = {key.fd for key, _ in selector.select(max(0.0, self._end - time.monotonic()))}
        return fd in ready

    @staticmethod
    def _send(data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(1, view) :]


def _relay(control: int, reader: ControlReader) -> bool:
    """Hand what the child reported to the reader; False when there is no more for now."""
    try:
        data = os.read(control, 1 << 14)
    except BlockingIOError:
        return False
    reader.feed(data)
    return bool(data)


def _rest(fd: int) -> bytes:
    try:
        return os.read(fd, 1 << 16)
    except BlockingIOError:
        return b""


def _processes() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208


def _judge(status: bytes, reader: ControlReader, verdict: Verdict, processor_s: int) -> Verdict:
    if len(status) != zygote.STATUS.size:
        verdict.code, verdict.detail = "killed", "the process that runs metrics was ended"
        return verdict
    _, value = zygote.STATUS.unpack(status)
    if os.WIFSIGNALED(value):
        number = os.WTERMSIG(value)
        crashed = number in _CRASHES
        timed_out = number == signal.SIGXCPU
        verdict.code = "crashed" if crashed else "timeout" if timed_out else "killed"
        verdict.detail = f"ended by {signal.strsignal(number) or number}"
        if timed_out:
            verdict.detail += f": {processor_s} s of the processor"
    elif reader.error is not None:
        verdict.code, verdict.detail = reader.error
    elif os.WEXITSTATUS(value) != 0 or not reader.complete:
        verdict.code = "incomplete"
        verdict.detail = f"the process left before all {reader.expected} layers were done"
    return verdict


def main() -> None:
    """Run the broker; the only argument is the container's lifetime in seconds."""
    try:
        Broker(float(sys.argv[1])).serve()
    except ProtocolError as error:
        os.write(2, str(error).encode("utf-8", "replace")[:400])
    os._exit(0)
