"""System calls taken from the child before designed code runs: the second wall inside the first.

Docker's seccomp profile already refuses namespaces, mounts, keys and the like. On top of it a
scoring function needs no program, no process, no socket and nobody to signal, so these go too.
The container stays the border; this only makes what is behind it emptier.
"""

import ctypes
import errno
import platform
import struct

_BPF_LOAD_WORD = 0x20
_BPF_JUMP_EQUAL = 0x15
_BPF_JUMP_ANY_BIT = 0x45
_BPF_RETURN = 0x06
_ALLOW = 0x7FFF0000
_ERROR = 0x00050000
_KILL_PROCESS = 0x80000000
_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_SECCOMP = 22
_FILTER_MODE = 2
_CLONE_THREAD = 0x00010000
_CLONE3 = 435
_X32_BIT = 0x40000000

# Numbers: arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h of Linux.
_X86_64 = {
    "socket": 41, "connect": 42, "accept": 43, "sendto": 44, "sendmsg": 46, "bind": 49,
    "listen": 50, "socketpair": 53, "fork": 57, "vfork": 58, "execve": 59, "kill": 62,
    "ptrace": 101, "personality": 135, "mount": 165, "tkill": 200, "tgkill": 234,
    "rt_sigqueueinfo": 129, "rt_tgsigqueueinfo": 297, "mq_open": 240,
    "add_key": 248, "request_key": 249, "keyctl": 250, "unshare": 272, "accept4": 288,
    "perf_event_open": 298, "setns": 308, "process_vm_readv": 310, "process_vm_writev": 311,
    "bpf": 321, "execveat": 322, "userfaultfd": 323, "shmget": 29, "semget": 64, "msgget": 68,
    "flock": 73, "inotify_init": 253, "inotify_init1": 294, "fanotify_init": 300,
}  # fmt: skip
_AARCH64 = {
    "socket": 198, "socketpair": 199, "bind": 200, "listen": 201, "accept": 202, "connect": 203,
    "sendto": 206, "sendmsg": 211, "execve": 221, "kill": 129, "ptrace": 117, "personality": 92,
    "mount": 40, "tkill": 130, "tgkill": 131, "rt_sigqueueinfo": 138,
    "rt_tgsigqueueinfo": 240, "mq_open": 180, "add_key": 217, "request_key": 218, "keyctl": 219,
    "unshare": 97, "accept4": 242, "perf_event_open": 241, "setns": 268, "process_vm_readv": 270,
    "process_vm_writev": 271, "bpf": 280, "execveat": 281, "userfaultfd": 282, "shmget": 194,
    "semget": 190, "msgget": 186, "flock": 32, "inotify_init1": 26, "fanotify_init": 262,
}  # fmt: skip
# From 424 on the numbers are the same everywhere.
_COMMON = {"pidfd_send_signal": 424, "io_uring_setup": 425, "io_uring_enter": 426,
           "io_uring_register": 427, "pidfd_open": 434, "pidfd_getfd": 438}  # fmt: skip
_ARCHITECTURES = {
    "x86_64": (0xC000003E, _X86_64, 56, 302, 72),
    "aarch64": (0xC00000B7, _AARCH64, 220, 261, 25),
}
# Locks, leases and notices on files that other containers also have open.
_FILE_SIGNALS = (6, 7, 37, 38, 1024, 1026)


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p)]


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("<HBBI", code, if_true, if_false, value)


def build_filter(machine: str) -> bytes:
    """Assemble the classic BPF program for one machine type.

    Raises:
        OSError: If the machine is neither x86_64 nor aarch64.
    """
    if machine not in _ARCHITECTURES:
        raise OSError(f"no system-call filter for {machine!r}; known: {sorted(_ARCHITECTURES)}")
    audit, names, clone, prlimit, fcntl = _ARCHITECTURES[machine]
    program = [
        _instruction(_BPF_LOAD_WORD, 4),
        _instruction(_BPF_JUMP_EQUAL, audit, 1, 0),
        _instruction(_BPF_RETURN, _KILL_PROCESS),
        _instruction(_BPF_LOAD_WORD, 0),
        _instruction(_BPF_JUMP_ANY_BIT, _X32_BIT, 0, 1),
        _instruction(_BPF_RETURN, _ERROR | errno.ENOSYS),
        # glibc asks clone3 first, whose flags a filter cannot see, and falls back to clone.
        _instruction(_BPF_JUMP_EQUAL, _CLONE3, 0, 1),
        _instruction(_BPF_RETURN, _ERROR | errno.ENOSYS),
        # Threads may be made, processes not.
        _instruction(_BPF_JUMP_EQUAL, clone, 0, 4),
        _instruction(_BPF_LOAD_WORD, 16),
        _instruction(_BPF_JUMP_ANY_BIT, _CLONE_THREAD, 0, 1),
        _instruction(_BPF_RETURN, _ALLOW),
        _instruction(_BPF_RETURN, _ERROR | errno.EPERM),
        # Own limits may be lowered; those of the broker and the zygote may not be touched.
        _instruction(_BPF_JUMP_EQUAL, prlimit, 0, 4),
        _instruction(_BPF_LOAD_WORD, 16),
        _instruction(_BPF_JUMP_EQUAL, 0, 0, 1),
        _instruction(_BPF_RETURN, _ALLOW),
        _instruction(_BPF_RETURN, _ERROR | errno.EPERM),
    ]
    commands = [
        instruction
        for command in _FILE_SIGNALS
        for instruction in (
            _instruction(_BPF_JUMP_EQUAL, command, 0, 1),
            _instruction(_BPF_RETURN, _ERROR | errno.EPERM),
        )
    ]
    program.append(_instruction(_BPF_JUMP_EQUAL, fcntl, 0, len(commands) + 2))
    program += [_instruction(_BPF_LOAD_WORD, 24), *commands, _instruction(_BPF_RETURN, _ALLOW)]
    for number in sorted({**names, **_COMMON}.values()):
        program.append(_instruction(_BPF_JUMP_EQUAL, number, 0, 1))
        program.append(_instruction(_BPF_RETURN, _ERROR | errno.EPERM))
    program.append(_instruction(_BPF_RETURN, _ALLOW))
    return b"".join(program)


class Filter:
    """A prepared filter; built once in the zygote, installed in each child after its fork."""

    def __init__(self) -> None:
        program = build_filter(platform.machine())
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._bytes = ctypes.create_string_buffer(program, len(program))
        self._program = _Program(len(program) // 8, ctypes.addressof(self._bytes))

    def install(self) -> None:
        """Give up the system calls for good, in this process and all it may start.

        Raises:
            OSError: If the kernel refuses the filter.
        """
        self._prctl(_PR_SET_NO_NEW_PRIVS, 1, 0)
        self._prctl(_PR_SET_SECCOMP, _FILTER_MODE, ctypes.addressof(self._program))

    def _prctl(self, option: int, first: int, second: int) -> None:
        arguments = [ctypes.c_ulong(value) for value in (first, second, 0, 0)]
        if self._libc.prctl(option, *arguments) != 0:
            raise OSError(ctypes.get_errno(), f"prctl({option}) was refused")


def set_undumpable() -> None:
    """Close ``/proc/PID/mem``, ``environ`` and ``fd`` of this process to others of its user.

    Raises:
        OSError: If the kernel refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(4, ctypes.c_ulong(0), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_DUMPABLE) was refused")
