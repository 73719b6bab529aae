"""Every system call that the container may make: an allow-list, found by tracing.

Traced with strace: the start of the interpreter, of the broker and the zygote, and a child that
used most of torch (linear algebra, FFT, sorting, threads, autograd, bfloat16, numpy, printing).
``CHILD`` is what designed code keeps; ``STARTING`` comes on top for what starts it. The host makes
the container's profile of both (``sandbox/seccomp.py``), the child's own filter is made of the
first. What is in neither list is refused with EPERM, and what a newer kernel adds is not there.
"""

from typing import NamedTuple


class Condition(NamedTuple):
    """One argument of a call, as the kernel sees it: ``argument & mask == value``."""

    argument: int
    value: int
    mask: int = 0xFFFFFFFF


# A call is allowed when all conditions of one of its rules hold.
Rules = tuple[tuple[Condition, ...], ...]
ANY: Rules = ((),)


def _one_of(argument: int, *values: int) -> Rules:
    return tuple((Condition(argument, value),) for value in values)


_WHOLE = 0xFFFFFFFFFFFFFFFF
_NULL_LIMIT = Condition(2, 0, _WHOLE)
_ITSELF = Condition(0, 0)
_CLONE_THREAD = 0x00010000
# Namespaces of mounts, cgroups, names, ipc, users, processes and network.
_CLONE_NEW = 0x7E020000
_MAP_HUGETLB = 0x00040000
_TCGETS, _FIONBIO, _FIOCLEX, _FIONCLEX = 0x5401, 0x5421, 0x5451, 0x5450
_PR_SET_DUMPABLE, _PR_SET_NAME, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 4, 15, 22, 38
# Duplicates and flags of descriptors; no locks, leases, notices, owners, signals, seals, sizes.
_F_DUPFD, _F_GETFD, _F_SETFD, _F_GETFL, _F_SETFL, _F_DUPFD_CLOEXEC = 0, 1, 2, 3, 4, 1030
_MADV_DONTNEED, _MADV_FREE, _MADV_HUGEPAGE = 4, 8, 14
_POSIX_FADV_SEQUENTIAL = 2
# Permission to use AMX, which is asked for once in a process: ARCH_{GET,REQ}_XCOMP_*.
_ARCH_XCOMP = (0x1021, 0x1022, 0x1023)
_ARCH_SET_FS = 0x1002
_RLIMIT_CPU, _RLIMIT_FSIZE, _RLIMIT_NOFILE = 0, 1, 7
_AF_UNIX = 1

CHILD: dict[str, Rules] = {
    **dict.fromkeys(
        (
            # Memory.
            "brk", "mprotect", "mremap", "munmap",
            # Files: reading, the result, what is printed. Only a file that may be written can be.
            "access", "close", "faccessat", "faccessat2", "fstat", "getcwd", "getdents64", "lseek",
            "lstat", "newfstatat", "open", "openat", "pread64", "pwrite64", "read", "readlink",
            "readlinkat", "stat", "statx", "write",
            # Threads of its own, its end, signals to itself by the kernel.
            "exit", "exit_group", "futex", "restart_syscall", "rseq", "rt_sigaction",
            "rt_sigprocmask", "rt_sigreturn", "sched_getaffinity", "sched_yield",
            "set_robust_list", "sigaltstack",
            # Clocks, chance, who it is.
            "clock_getres", "clock_gettime", "clock_nanosleep", "getegid", "geteuid", "getgid",
            "getpid", "getppid", "getrandom", "gettid", "gettimeofday", "getuid", "nanosleep",
            "uname",
        ),
        ANY,
    ),
    "arch_prctl": _one_of(0, *_ARCH_XCOMP),
    "clone": ((Condition(0, _CLONE_THREAD, _CLONE_NEW | _CLONE_THREAD),),),
    "fadvise64": _one_of(3, _POSIX_FADV_SEQUENTIAL),
    "fcntl": _one_of(1, _F_DUPFD, _F_GETFD, _F_SETFD, _F_GETFL, _F_SETFL, _F_DUPFD_CLOEXEC),
    "ioctl": _one_of(1, _TCGETS),
    "madvise": _one_of(2, _MADV_DONTNEED, _MADV_FREE, _MADV_HUGEPAGE),
    # Pages of 2 MiB that the host keeps ready are counted in no memory limit.
    "mmap": ((Condition(3, 0, _MAP_HUGETLB),),),
    "prctl": _one_of(0, _PR_SET_NAME),
    "prlimit64": ((_ITSELF, _NULL_LIMIT),),
}  # fmt: skip

# The runtime after it has installed the profile, the dynamic loader, the broker, the zygote, and
# the child until it installs its own filter.
STARTING: dict[str, Rules] = {
    **dict.fromkeys(
        (
            "close_range", "dup2", "dup3", "epoll_create1", "epoll_ctl", "epoll_pwait",
            "epoll_wait", "execve", "fstatfs", "getpeername", "getsockname", "getsockopt", "pipe2",
            "recvfrom", "recvmsg", "sendmsg", "sendto", "set_tid_address", "setsid", "wait4",
        ),
        ANY,
    ),
    "arch_prctl": _one_of(0, _ARCH_SET_FS),
    "clone": ((Condition(0, 0, _CLONE_NEW),),),
    "ioctl": _one_of(1, _FIONBIO, _FIOCLEX, _FIONCLEX),
    "prctl": (
        # Never back: a process that may be dumped can be read by others of its user.
        (Condition(0, _PR_SET_DUMPABLE), Condition(1, 0, _WHOLE)),
        *_one_of(0, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS),
    ),
    # No other limit, least of all that of core files: 1 there keeps crash handlers away.
    "prlimit64": tuple(
        (_ITSELF, Condition(1, limit)) for limit in (_RLIMIT_CPU, _RLIMIT_FSIZE, _RLIMIT_NOFILE)
    ),
    "sched_setaffinity": ((_ITSELF,),),
    "socketpair": _one_of(0, _AF_UNIX),
}  # fmt: skip

# Numbers of x86_64 (arch/x86/entry/syscalls/syscall_64.tbl) and aarch64
# (include/uapi/asm-generic/unistd.h of Linux) for CHILD; None where a machine has no such call.
NUMBERS: dict[str, tuple[int, int | None]] = {
    "access": (21, None), "arch_prctl": (158, None), "brk": (12, 214), "clock_getres": (229, 114),
    "clock_gettime": (228, 113), "clock_nanosleep": (230, 115), "clone": (56, 220),
    "close": (3, 57), "exit": (60, 93), "exit_group": (231, 94), "faccessat": (269, 48),
    "faccessat2": (439, 439), "fadvise64": (221, 223), "fcntl": (72, 25), "fstat": (5, 80),
    "futex": (202, 98), "getcwd": (79, 17), "getdents64": (217, 61), "getegid": (108, 177),
    "geteuid": (107, 175), "getgid": (104, 176), "getpid": (39, 172), "getppid": (110, 173),
    "getrandom": (318, 278), "gettid": (186, 178), "gettimeofday": (96, 169), "getuid": (102, 174),
    "ioctl": (16, 29), "lseek": (8, 62), "lstat": (6, None), "madvise": (28, 233),
    "mmap": (9, 222), "mprotect": (10, 226), "mremap": (25, 216), "munmap": (11, 215),
    "nanosleep": (35, 101), "newfstatat": (262, 79), "open": (2, None), "openat": (257, 56),
    "prctl": (157, 167), "pread64": (17, 67), "prlimit64": (302, 261), "pwrite64": (18, 68),
    "read": (0, 63), "readlink": (89, None), "readlinkat": (267, 78),
    "restart_syscall": (219, 128), "rseq": (334, 293), "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139), "sched_getaffinity": (204, 123),
    "sched_yield": (24, 124), "set_robust_list": (273, 99), "sigaltstack": (131, 132),
    "stat": (4, None), "statx": (332, 291), "uname": (63, 160), "write": (1, 64),
}  # fmt: skip
# From 424 on the numbers are the same everywhere. What is newer than this one does not exist.
CLONE3 = 435
NEWEST = 462
