"""Things that must be refused, fourth part: one system call each, by name.

None of them is on the container's list, or not with these arguments. See ``attempts``: the texts
of all files are shipped into the container as one.
"""

import ctypes
import os

from tests.support.attacks.attempts import call, outcome

BUFFER = ctypes.create_string_buffer(1 << 16)
PATH_TEXT = ctypes.create_string_buffer(b"/")
NAME_TEXT = ctypes.create_string_buffer(b"/proc/self/fd/4")
# Words in place of numbers: an empty buffer, this process, the broker, a folder, a file.
HERE, SELF, BROKER, PATH, NAME = "here", "self", "broker", "path", "name"
FLAGS = "flags"
THREAD_FLAGS = 0x00010F00
CALLS = [
    # Asynchronous and fast I/O, events.
    ("io_setup", 1, HERE), ("io_destroy", 1), ("io_submit", 1, 1, HERE), ("io_getevents", 1, 0, 0),
    ("io_uring_setup", 4, HERE), ("io_uring_enter", 0, 1), ("eventfd2", 0, 0),
    ("signalfd4", -1, HERE, 8, 0), ("timerfd_create", 1, 0), ("inotify_init1", 0),
    ("fanotify_init", 0, 0), ("splice", 3, 0, 4, 0, 1, 0), ("tee", 3, 4, 1, 0),
    ("vmsplice", 3, HERE, 1, 0), ("sendfile", 3, 4, 0, 1), ("copy_file_range", 4, 0, 4, 0, 1, 0),
    # Schedulers, priorities, accounts.
    ("sched_setscheduler", SELF, 3, HERE), ("sched_setparam", SELF, HERE),
    ("sched_setattr", SELF, HERE, 0), ("sched_getattr", SELF, HERE, 56, 0),
    ("setpriority", 0, SELF, 5), ("getpriority", 0, BROKER), ("ioprio_set", 1, SELF, 0x6000),
    ("sched_setaffinity", BROKER, 8, HERE), ("getrusage", 0, HERE), ("times", HERE),
    ("sysinfo", HERE), ("acct", 0), ("prlimit64", BROKER, 7, 0, HERE), ("setrlimit", 4, HERE),
    # Memory: of others, locked, secret, shared, counted nowhere, hints about shared pages.
    ("memfd_create", PATH, 0), ("memfd_secret", 0), ("mlock", HERE, 4096), ("mlockall", 1),
    ("mlock2", HERE, 4096, 1), ("mincore", HERE, 4096, HERE), ("remap_file_pages", 0, 0, 0, 0, 0),
    ("shmget", 0, 4096, 0o1600), ("shmat", 0, 0, 0), ("process_vm_readv", SELF, 0, 0, 0, 0, 0),
    ("process_vm_writev", SELF, 0, 0, 0, 0, 0), ("process_madvise", 4, HERE, 1, 20, 0),
    ("process_mrelease", 4, 0), ("move_pages", SELF, 0, 0, 0, 0, 0),
    ("migrate_pages", SELF, 0, HERE, HERE), ("set_mempolicy", 0, 0, 0), ("mbind", 0, 0, 0, 0, 0, 0),
    ("get_mempolicy", HERE, 0, 0, 0, 0), ("userfaultfd", 1), ("pkey_alloc", 0, 0),
    ("membarrier", 0, 0), ("readahead", 4, 0, 4096), ("cachestat", 4, HERE, HERE, 0),
    ("msync", HERE, 0, 4),
    # Processes and signals.
    ("clone", 17, 0, 0, 0, 0), ("kill", SELF, 0), ("tkill", SELF, 0), ("tgkill", SELF, SELF, 0),
    ("rt_sigqueueinfo", SELF, 0, HERE), ("rt_tgsigqueueinfo", SELF, SELF, 0, HERE),
    ("pidfd_open", SELF, 0), ("pidfd_getfd", 4, 4, 0), ("pidfd_send_signal", 4, 0, 0, 0),
    ("kcmp", SELF, SELF, 0, 3, 3), ("ptrace", 0x4206, BROKER, 0, 0), ("waitid", 0, 0, HERE, 4),
    ("setpgid", BROKER, 0), ("getpgid", BROKER), ("getsid", BROKER), ("timer_create", 1, 0, HERE),
    ("setitimer", 0, HERE, 0), ("rt_sigtimedwait", HERE, 0, HERE, 8),
    ("get_robust_list", SELF, HERE, HERE), ("personality", 0xFFFFFFFF),
    ("set_tid_address", HERE), ("execveat", -1, PATH, 0, 0, 0),
    # Filters, users, capabilities, keys.
    ("seccomp", 2, 0, 0), ("landlock_create_ruleset", 0, 0, 1), ("landlock_restrict_self", 4, 0),
    ("capget", HERE, 0), ("capset", HERE, HERE), ("setuid", 65534), ("setgid", 65534),
    ("setresuid", -1, -1, -1), ("setgroups", 0, 0), ("setfsuid", 65534), ("getgroups", 0, 0),
    ("keyctl", 0, -3, 0), ("add_key", PATH, PATH, 0, 0, -3), ("request_key", PATH, PATH, 0, -3),
    # Namespaces and mounts.
    ("unshare", 0), ("setns", 4, 0), ("mount", 0, PATH, 0, 0, 0), ("umount2", PATH, 0),
    ("pivot_root", PATH, PATH), ("chroot", PATH), ("fsopen", PATH, 0), ("fsmount", 4, 0, 0),
    ("fspick", -100, PATH, 0), ("open_tree", -100, PATH, 0), ("move_mount", -100, PATH, -100, PATH),
    ("mount_setattr", -100, PATH, 0, HERE, 32),
    # Files: their names, modes, times, sizes, locks, handles, and what a file system tells.
    ("ftruncate", 4, 0), ("fallocate", 4, 3, 0, 4096), ("fallocate", 4, 8, 0, 4096),
    ("flock", 4, 2), ("fchmod", 4, 0o777), ("fchown", 4, 65534, 65534), ("utimensat", 4, 0, 0, 0),
    ("fsync", 4),
    ("fsetxattr", 4, PATH, PATH, 1, 0), ("flistxattr", 4, 0, 0), ("fstatfs", 4, HERE),
    ("statfs", PATH, HERE), ("sync_file_range", 4, 0, 0, 0), ("syncfs", 4),
    ("fadvise64", 4, 0, 0, 4), ("unlinkat", -100, PATH, 0), ("mkdirat", -100, PATH, 0o700),
    ("symlinkat", PATH, -100, PATH), ("linkat", -100, PATH, -100, PATH, 0),
    ("renameat2", -100, PATH, -100, PATH, 0), ("mknodat", -100, PATH, 0o10600, 0),
    ("fchmodat", -100, NAME, 0o700), ("truncate", PATH, 0), ("chdir", PATH), ("umask", 18),
    ("name_to_handle_at", -100, PATH, HERE, HERE, 0), ("open_by_handle_at", -100, HERE, 0),
    ("quotactl", 0x80000200, 0, 0, HERE), ("openat2", -100, PATH, HERE, 24),
    # Sockets and queues.
    ("socket", 1, 1, 0), ("socketpair", 2, 1, 0, HERE), ("bind", 4, HERE, 0), ("listen", 4, 0),
    ("connect", 4, HERE, 0), ("accept4", 4, 0, 0, 0), ("mq_open", PATH, 0o102, 0o600, 0),
    ("mq_unlink", PATH), ("msgget", 0, 0o1600), ("semget", 0, 1, 0o1600), ("semop", 0, HERE, 1),
    # The machine.
    ("bpf", 0, 0, 0), ("perf_event_open", HERE, 0, -1, -1, 0), ("syslog", 10, 0, 0),
    ("clock_settime", 99, HERE), ("clock_adjtime", 0, HERE), ("settimeofday", 0, 0),
    ("adjtimex", HERE), ("sethostname", PATH, 1), ("setdomainname", PATH, 1),
    ("init_module", 0, 0, PATH), ("finit_module", -1, PATH, 0), ("delete_module", PATH, 0),
    ("kexec_load", 0, 0, 0, 0), ("reboot", 0, 0, 0, 0), ("swapon", PATH, 0), ("swapoff", PATH),
    ("vhangup",), ("lookup_dcookie", 0, HERE, 1), ("nfsservctl", 0, 0, 0),
    # On the list, but not with these arguments.
    ("prctl", 1, 9), ("prctl", 4, 1), ("prctl", 8, 1), ("prctl", 23, 1), ("prctl", 28, 0),
    ("prctl", 29, 1000), ("prctl", 35, 8, 0), ("prctl", 36, 1), ("prctl", 41, 1),
    ("prctl", 47, 2, 1), ("prctl", 53, 0, 2), ("prctl", 62, 0, BROKER, 0, HERE),
    ("prctl", 0x59616D61, -1), ("clone", THREAD_FLAGS | 0x10000000), ("clone", 0x20000011),
    ("fcntl", 4, 8, SELF), ("fcntl", 4, 10, 9), ("fcntl", 4, 15, HERE), ("fcntl", 4, 1024, 1),
    ("fcntl", 4, 1026, 1), ("fcntl", 3, 1031, 1 << 20), ("fcntl", 3, 1032), ("fcntl", 4, 1033, 1),
    ("fcntl", 4, 5, HERE), ("fcntl", 4, 1036, HERE), ("ioctl", 4, 0x5412, HERE),
    ("ioctl", 4, 0x5413, HERE), ("ioctl", 3, 0x541B, HERE), ("ioctl", 4, 0x40086602, FLAGS),
    ("madvise", HERE, 4096, 9), ("madvise", HERE, 4096, 12), ("madvise", HERE, 4096, 21),
    ("madvise", HERE, 4096, 100), ("mmap", 0, 1 << 21, 3, 0x40022, -1, 0),
    ("prlimit64", 0, 4, HERE, 0), ("arch_prctl", 0x1001, 0), ("arch_prctl", 0x1012, 0),
]  # fmt: skip


def _flags_of_a_file():
    """Those an ext4 file has: some kernels refuse to clear them, as a wall would."""
    address = (ctypes.addressof(BUFFER) + 4095) & ~4095
    ctypes.c_long.from_address(address).value = 0x80000
    return address


def resolved(argument):
    """A number for a word."""
    words = {
        HERE: lambda: (ctypes.addressof(BUFFER) + 4095) & ~4095,
        PATH: lambda: ctypes.addressof(PATH_TEXT),
        SELF: os.getpid,
        BROKER: lambda: 1,
        NAME: lambda: ctypes.addressof(NAME_TEXT),
        FLAGS: _flags_of_a_file,
    }
    return words[argument]() if isinstance(argument, str) else argument


def tries(name, arguments):
    """An attempt that makes one call with an empty buffer."""

    def attempt():
        ctypes.memset(BUFFER, 0, len(BUFFER))
        return call(name, *map(resolved, arguments))

    return attempt


CALLED = {
    f"c{number:03d}_call_{name}": tries(name, arguments)
    for number, (name, *arguments) in enumerate(CALLS)
}


def all_attempts(names):
    """Every attempt among some names, by its own name."""
    written = {
        name: function
        for name, function in names.items()
        if name[:1] in "af" and name[1:4].isdigit()
    }
    return {**written, **CALLED}


def breaches(attempts, expected):
    """What came out otherwise than it must; also an attempt that is not there or not expected."""
    seen = {name: outcome(attempts[name]) for name in sorted(expected) if name in attempts}
    return [f"{name}={seen.get(name)}" for name in expected if seen.get(name) != expected[name]]
