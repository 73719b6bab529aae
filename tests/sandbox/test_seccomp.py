"""Both allow-lists: numbers, argument rules, and the filter run by a machine of our own."""

import errno
import json
import re
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from sandbox.seccomp import profile
from sandbox.worker.syscall_rules import ANY, CHILD, NEWEST, NUMBERS, STARTING
from sandbox.worker.syscalls import ALLOW, ERROR, KILL_PROCESS, build_filter

AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
PERM, NOSYS = ERROR | errno.EPERM, ERROR | errno.ENOSYS


def verdict(machine: str, number: int, *arguments: int, audit: int | None = None) -> int:
    """Run the filter on one call, as the kernel would."""
    padded = [value & (1 << 64) - 1 for value in (*arguments, *[0] * (6 - len(arguments)))]
    data = struct.pack("<iIQ6Q", number, audit or AUDIT[machine], 0, *padded)
    program = [*struct.iter_unpack("<HBBI", build_filter(machine))]
    place = register = 0
    while True:
        code, if_true, if_false, value = program[place]
        place += 1
        if code == 0x20:
            register = struct.unpack_from("<I", data, value)[0]
        elif code == 0x54:
            register &= value
        elif code == 0x15:
            place += if_true if register == value else if_false
        elif code == 0x35:
            place += if_true if register >= value else if_false
        else:
            assert code == 0x06
            return value


def number(machine: str, name: str) -> int:
    found = NUMBERS[name][machine == "aarch64"]
    assert found is not None
    return found


@pytest.mark.parametrize("machine", AUDIT)
def test_what_is_listed_passes_and_nothing_else_does(machine: str) -> None:
    listed = {NUMBERS[name][machine == "aarch64"]: name for name in CHILD}
    for call in range(NEWEST):
        name = listed.get(call)
        if name is None:
            assert verdict(machine, call) == (NOSYS if call == 435 else PERM), call
        elif CHILD[name] == ANY:
            assert verdict(machine, call, *[2**64 - 1] * 6) == ALLOW, name
    for call in (NEWEST, 1000, 0x40000000 + 39, 0x7FFFFFFF):
        assert verdict(machine, call) == NOSYS
    assert verdict(machine, 0, audit=0x40000003) == KILL_PROCESS


THREAD = 0x3D0F00
ALLOWED = [
    ("clone", (THREAD,)),
    ("fcntl", (4, 1)),
    ("fcntl", (4, 1030)),
    ("fcntl", (4, 4, 0o2000)),
    ("ioctl", (0, 0x5401)),
    ("madvise", (0, 0, 4)),
    ("mmap", (0, 4096, 3, 0x22)),
    ("prctl", (15,)),
    ("prlimit64", (0, 7, 0)),
    ("fadvise64", (5, 0, 0, 2)),
]
REFUSED = [
    ("clone", (17,)),
    ("clone", (THREAD | 0x10000000,)),
    ("clone", (0x10000000,)),
    *[("fcntl", (4, command)) for command in (5, 6, 7, 8, 10, 15, 36, 37, 38, 1024, 1026, 1031)],
    ("fcntl", (4, 1033, 1)),
    ("ioctl", (0, 0x5412)),
    ("ioctl", (0, 0x5452)),
    ("madvise", (0, 0, 9)),
    ("madvise", (0, 0, 12)),
    ("madvise", (0, 0, 21)),
    ("mmap", (0, 2 << 20, 3, 0x40022)),
    ("mmap", (0, 2 << 20, 3, 0x40022 | 21 << 26)),
    *[("prctl", (option, 1)) for option in (1, 4, 8, 22, 36, 38, 47, 0x53564D41)],
    ("prlimit64", (0, 7, 1)),
    # The kernel reads all of a pointer: its upper half counts.
    ("prlimit64", (0, 7, 1 << 32)),
    ("prlimit64", (1, 7, 0)),
    ("fadvise64", (5, 0, 0, 4)),
]


@pytest.mark.parametrize("machine", AUDIT)
def test_arguments_decide(machine: str) -> None:
    for name, arguments in ALLOWED:
        assert verdict(machine, number(machine, name), *arguments) == ALLOW, (name, arguments)
    for name, arguments in REFUSED:
        assert verdict(machine, number(machine, name), *arguments) == PERM, (name, arguments)
    # AMX has to be asked for; nothing else of the architecture may be set.
    assert verdict("x86_64", 158, 0x1023, 18) == ALLOW
    assert verdict("x86_64", 158, 0x1002, 1 << 40) == PERM


def test_upper_halves_of_words_do_not_hide_a_flag() -> None:
    """The kernel cuts flags to 32 bits; so does the filter, or one bit above would pass it."""
    assert verdict("x86_64", 157, 1 << 32 | 4, 1) == PERM
    assert verdict("x86_64", 9, 0, 4096, 3, 1 << 32 | 0x40022) == PERM
    assert verdict("x86_64", 72, 4, 1 << 32 | 8) == PERM


def test_numbers_are_those_of_the_kernel_s_headers() -> None:
    headers = {
        0: Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
        1: Path("/usr/include/asm-generic/unistd.h"),
    }
    if not all(path.exists() for path in headers.values()) or shutil.which("gcc") is None:
        pytest.skip("needs the kernel's headers (linux-libc-dev) and gcc")
    for column, path in headers.items():
        options = [
            "-D__BITS_PER_LONG=64",
            "-D__ARCH_WANT_NEW_STAT",
            "-D__ARCH_WANT_TIME32_SYSCALLS",
        ]
        command = ["gcc", "-E", "-dM", *options, "-include", str(path), "-x", "c", "/dev/null"]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        defined = dict(re.findall(r"#define __NR(?:3264)?_(\w+) (\d+)", text))
        for name, numbers in NUMBERS.items():
            found = defined.get(name if name != "newfstatat" or column == 0 else "fstatat")
            assert found == (None if numbers[column] is None else str(numbers[column])), name


def test_every_call_of_the_child_has_a_number() -> None:
    assert set(NUMBERS) == set(CHILD)
    assert {name for name, numbers in NUMBERS.items() if numbers[1] is None} == {
        "access", "arch_prctl", "lstat", "open", "readlink", "stat",
    }  # fmt: skip


def test_the_container_s_profile_is_an_allow_list() -> None:
    made = json.loads(profile())
    assert made["defaultAction"] == "SCMP_ACT_ERRNO"
    assert made["defaultErrnoRet"] == errno.EPERM
    assert all(entry["subArchitectures"] == [] for entry in made["archMap"])
    allowed = [entry for entry in made["syscalls"] if entry["action"] == "SCMP_ACT_ALLOW"]
    names = {name for entry in allowed for name in entry["names"]}
    assert names == {*CHILD, *STARTING}
    whole = {name for entry in allowed if not entry["args"] for name in entry["names"]}
    assert not whole & {"clone", "fcntl", "ioctl", "madvise", "mmap", "prctl", "prlimit64"}
    # What the weak places of a deny list were.
    closed = {
        "io_setup", "sched_setscheduler", "setpriority", "keyctl", "unshare", "setns", "socket",
        "mq_open", "shmget", "fallocate", "ftruncate", "memfd_create", "memfd_secret", "kill",
        "tgkill", "ptrace", "seccomp", "landlock_create_ruleset", "statfs", "sysinfo",
    }  # fmt: skip
    assert not names & closed


def test_only_a_gpu_widens_it() -> None:
    names = [
        {name for entry in json.loads(profile(gpus=gpus))["syscalls"] for name in entry["names"]}
        for gpus in (False, True)
    ]
    assert names[0] < names[1]
    assert "ioctl" in names[0]
