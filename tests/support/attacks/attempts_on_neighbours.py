"""Things that must be refused, third part: other containers, shared files, memory by the back door.

See ``attempts``: the texts of all files are shipped into the container as one.
"""

# Plain os calls are what the attacks are about.
# ruff: noqa: PTH115, PTH120, PTH208
import contextlib
import ctypes
import fcntl
import mmap
import os
import resource
import struct
import sys
from pathlib import Path

import torch

from tests.support.attacks.attempts import LIBC, SECRET_MARK, call, first, input_paths, read

# Before the other attempts open anything; the listing's own descriptor is gone again.
OPEN_AT_START = [
    (int(name), os.readlink(f"/proc/self/fd/{name}"))
    for name in os.listdir("/proc/self/fd")
    if os.path.lexists(f"/proc/self/fd/{name}")
]


def a085_broker_memory_for_writing():
    return first(lambda pid: os.open(f"/proc/{pid}/mem", os.O_RDWR), [1, os.getppid()])


def a086_input_through_own_memory():
    # Forced writes to a read-only mapping must land in a private copy.
    path = input_paths()[0]
    before = read(path, 64)
    fd = os.open(path, os.O_RDONLY)
    pages = mmap.mmap(fd, 4096, mmap.MAP_PRIVATE, mmap.PROT_READ)
    lines = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    places = [int(line.partition("-")[0], 16) for line in lines if line.endswith(path)]
    memory = os.open("/proc/self/mem", os.O_RDWR)
    for place in places:
        with contextlib.suppress(OSError):
            os.pwrite(memory, b"x" * 64, place)
    pages.close()
    return read(path, 64) != before


def a087_shared_library_through_own_memory():
    # The same on a library that every container has mapped.
    path = torch.__file__
    before = read(path, 64)
    fd = os.open(path, os.O_RDONLY)
    pages = mmap.mmap(fd, 4096, mmap.MAP_SHARED, mmap.PROT_READ)
    lines = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    place = next(int(line.partition("-")[0], 16) for line in lines if line.endswith(path))
    os.pwrite(os.open("/proc/self/mem", os.O_RDWR), b"x" * 64, place)
    pages.close()
    return read(path, 64) != before


def a088_protection_raised():
    fd = os.open(input_paths()[0], os.O_RDONLY)
    pages = mmap.mmap(fd, 4096, mmap.MAP_SHARED, mmap.PROT_READ)
    lines = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    place = next(int(line.partition("-")[0], 16) for line in lines if "/in/" in line)
    got = call("mprotect", place, 4096, 3) if "rw-s" not in "".join(lines) else None
    # A private mapping of the worker may be made writable; a shared one of the file may not.
    lines = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    pages.close()
    return got and [line for line in lines if "/in/" in line and " rw-s " in line]


def a089_named_sockets():
    lines = Path("/proc/net/unix").read_text(encoding="utf-8").splitlines()[1:]
    return [line for line in lines if len(line.split()) > 7]


def a100_result_of_the_other_run():
    return first(lambda path: os.open(path, os.O_WRONLY), ["/out/scores"])


def a101_result_by_its_descriptor():
    return first(
        lambda flags: os.open("/proc/self/fd/4", flags), [os.O_RDWR, os.O_RDONLY, os.O_WRONLY]
    )


def a102_result_mapped_for_writing():
    return mmap.mmap(4, 4096, mmap.MAP_SHARED, mmap.PROT_WRITE)


def a103_descriptors_beyond_four():
    return [entry for entry in OPEN_AT_START if entry[0] > 4]


def a104_lease_on_a_shared_file():
    fd = os.open(input_paths()[0], os.O_RDONLY)
    fcntl.fcntl(fd, 1024, fcntl.F_RDLCK)
    return "leased"


def a105_handles_of_the_host():
    # What a mount knows of the host's file system may be read (it is in the manual), not entered.
    lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    cells = [line.split()[3] for line in lines if ".autoprune-cells-" in line]
    return first(os.listdir, [os.path.dirname(root) for root in cells])


def a106_memory_of_another_candidate():
    block = torch.empty(1 << 24, dtype=torch.uint8)
    return bool(block.count_nonzero()) and SECRET_MARK in bytes(block.numpy())


def a107_pressure_and_limits_of_the_host():
    return first(
        lambda path: Path(path).write_text("some 1 1\n", encoding="ascii"),
        ["/proc/pressure/memory", "/proc/self/oom_adj", "/proc/self/coredump_filter_x",
         "/proc/self/uid_map", "/proc/self/setgroups", "/proc/self/attr/current"],
    )  # fmt: skip


def a108_core_file_after_all():
    resource.setrlimit(resource.RLIMIT_CORE, (1 << 20, 1 << 20))
    return "core files are on"


def f110_watch_shared_files():
    return first(lambda name: call(name, 0, 0), ["inotify_init1", "fanotify_init"])


def f111_lock_shared_files():
    fd = os.open(input_paths()[0], os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    return "locked"


def f112_record_lock_on_shared_files():
    fd = os.open(torch.__file__, os.O_RDONLY)
    fcntl.fcntl(fd, fcntl.F_SETLK, struct.pack("hhqqi", fcntl.F_RDLCK, 0, 0, 0, 0))
    return "locked"


def f113_notice_of_a_folder():
    fd = os.open("/opt/autoprune/packages", os.O_RDONLY)
    fcntl.fcntl(fd, fcntl.F_NOTIFY, fcntl.DN_ACCESS)
    return "notified"


def f114_program_from_memory():
    fd = LIBC.memfd_create(b"x", 0)
    os.write(fd, Path("/opt/autoprune/python/bin/python3").read_bytes()[: 1 << 20])
    os.execve(fd, [sys.executable], {})


def f115_system_five_queues_and_semaphores():
    return first(lambda name: call(name, 0, 1, 0o1600), ["msgget", "semget"])


def f116_messages_by_name():
    return call("mq_open", ctypes.addressof(ctypes.create_string_buffer(b"/x")), 0o102, 0o600, 0)
