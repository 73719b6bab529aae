"""The zygote: has torch loaded, runs no operation of its own, and forks the child of the job.

It never sees the nonce of a job, so nothing that a child inherits can sign a reply. It must stay
single-threaded and must not run a parallel operation: a child forked after one hangs for ever.
"""

import gc
import os
import socket
import struct
import sys
from contextlib import suppress
from types import ModuleType

from .protocol import Job

LENGTH = struct.Struct("<IB")
STATUS = struct.Struct("<cI")


def serve(broker: socket.socket) -> None:
    """Import torch, say so, then fork a child for every job until the broker is gone."""
    # Collections would take a fifth of the time of the import, and free next to nothing.
    gc.disable()
    # Shapes of operations, for torch's compiler, would take another. No name that the screen lets
    # pass needs them; of what they import, torch.Generator needs the module below.
    unused = "torch._meta_registrations"
    sys.modules[unused] = ModuleType(unused)
    try:
        import torch

        with suppress(ImportError):
            import torch._prims.rng_prims

        # Where another version of torch needs more, no container starts, and no design is blamed.
        torch.Generator()
        torch.set_num_threads(1)
        from . import child
        from .syscalls import Filter

        syscall_filter = Filter()
    except BaseException as error:
        text = f"{type(error).__name__}: {error}".encode("utf-8", "replace")[:1000]
        broker.sendall(STATUS.pack(b"F", len(text)) + text)
        return
    version = str(torch.__version__).encode()
    broker.sendall(STATUS.pack(b"R", len(version)) + version)
    gc.freeze()
    gc.enable()
    while True:
        prefix, fds, _, _ = socket.recv_fds(broker, LENGTH.size, 3)
        if len(prefix) < LENGTH.size or len(fds) != 3:
            return
        size, use_filter = LENGTH.unpack(prefix)
        job = Job.from_bytes(_receive(broker, size))
        pid = os.fork()
        if pid == 0:
            child.run(job, (fds[0], fds[1], fds[2]), syscall_filter if use_filter else None)
        for fd in fds:
            os.close(fd)
        _, status = os.waitpid(pid, 0)
        broker.sendall(STATUS.pack(b"E", status & 0xFFFFFFFF))


def _receive(broker: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        part = broker.recv(size - len(data))
        if not part:
            os._exit(0)
        data += part
    return bytes(data)
