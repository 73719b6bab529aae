"""The child's own filter: the second wall inside the first, before designed code runs.

The container's profile already allows little (``syscall_rules``), but has to let the broker and
the zygote start: processes, pipes, one program. A scoring function needs none of that, so the
child gives it up for good. The container stays the border; what is behind it becomes emptier.
"""

import ctypes
import errno
import platform
import struct

from .syscall_rules import CHILD, CLONE3, NEWEST, NUMBERS, Condition, Rules

_LOAD_WORD = 0x20
_AND = 0x54
_JUMP_EQUAL = 0x15
_JUMP_AT_LEAST = 0x35
_RETURN = 0x06
ALLOW = 0x7FFF0000
ERROR = 0x00050000
KILL_PROCESS = 0x80000000
_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_SECCOMP = 22
_FILTER_MODE = 2
_LOW_WORD = 0xFFFFFFFF
# struct seccomp_data: number, architecture, instruction pointer, arguments of 8 bytes.
_ARCHITECTURE, _ARGUMENTS = 4, 16
_MACHINES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p)]


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("<HBBI", code, if_true, if_false, value)


def build_filter(machine: str) -> bytes:
    """Assemble the classic BPF program for one machine type."""
    if machine not in _MACHINES:
        raise OSError(f"no system-call filter for {machine!r}; known: {sorted(_MACHINES)}")
    architecture, column = _MACHINES[machine]
    program = [
        _instruction(_LOAD_WORD, _ARCHITECTURE),
        _instruction(_JUMP_EQUAL, architecture, 1, 0),
        _instruction(_RETURN, KILL_PROCESS),
        _instruction(_LOAD_WORD, 0),
        # For what does not exist the C library knows another way; x32's numbers are above, too.
        _instruction(_JUMP_AT_LEAST, NEWEST, 0, 1),
        _instruction(_RETURN, ERROR | errno.ENOSYS),
        # glibc asks clone3 first, whose flags a filter cannot see, and falls back to clone.
        _instruction(_JUMP_EQUAL, CLONE3, 0, 1),
        _instruction(_RETURN, ERROR | errno.ENOSYS),
    ]
    for name, rules in sorted(CHILD.items()):
        number = NUMBERS[name][column]
        if number is not None:
            program += _allow(number, rules)
    program.append(_instruction(_RETURN, ERROR | errno.EPERM))
    return b"".join(program)


def _allow(number: int, rules: Rules) -> list[bytes]:
    if () in rules:
        return [_instruction(_JUMP_EQUAL, number, 0, 1), _instruction(_RETURN, ALLOW)]
    block: list[bytes] = []
    for rule in rules:
        tests = [test for condition in rule for test in _test(condition)]
        # Each test is three instructions, the last of which goes to the end of this rule.
        for place in range(2, len(tests), 3):
            code, _, _, value = struct.unpack("<HBBI", tests[place])
            tests[place] = _instruction(code, value, 0, len(tests) - place)
        block += [*tests, _instruction(_RETURN, ALLOW)]
    block.append(_instruction(_RETURN, ERROR | errno.EPERM))
    return [_instruction(_JUMP_EQUAL, number, 0, len(block)), *block]


def _test(condition: Condition) -> list[bytes]:
    """Compare one argument, both halves of it where the kernel looks at both."""
    place = _ARGUMENTS + 8 * condition.argument
    tests: list[bytes] = []
    for offset, shift in ((0, 0), (4, 32)):
        mask = condition.mask >> shift & _LOW_WORD
        if mask:
            tests.append(_instruction(_LOAD_WORD, place + offset))
            tests.append(_instruction(_AND, mask))
            tests.append(_instruction(_JUMP_EQUAL, condition.value >> shift & _LOW_WORD))
    return tests


class Filter:
    """A prepared filter; built once in the zygote, installed in each child after its fork."""

    def __init__(self) -> None:
        program = build_filter(platform.machine())
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._bytes = ctypes.create_string_buffer(program, len(program))
        self._program = _Program(len(program) // 8, ctypes.addressof(self._bytes))

    def install(self) -> None:
        """Give up the system calls for good, in this process and all it may start."""
        self._prctl(_PR_SET_NO_NEW_PRIVS, 1, 0)
        self._prctl(_PR_SET_SECCOMP, _FILTER_MODE, ctypes.addressof(self._program))

    def _prctl(self, option: int, first: int, second: int) -> None:
        arguments = [ctypes.c_ulong(value) for value in (first, second, 0, 0)]
        if self._libc.prctl(option, *arguments) != 0:
            raise OSError(ctypes.get_errno(), f"prctl({option}) was refused")


def set_undumpable() -> None:
    """Close ``/proc/PID/mem``, ``environ`` and ``fd`` of this process to others of its user."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(4, *[ctypes.c_ulong(0)] * 4) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_DUMPABLE) was refused")
