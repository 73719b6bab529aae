"""The container's own seccomp profile, in the form that the Docker Engine takes.

An allow-list replaces Docker's default profile, which refuses only what is known to be dangerous
and so lets through much else: asynchronous I/O, schedulers of other processes, keyrings,
terminals, memory that no limit counts.
"""

import errno
import json
from collections.abc import Mapping
from typing import Any

from sandbox.worker.syscall_rules import CHILD, STARTING, Condition, Rules

# Also needed by a GPU's driver; taken from its documentation, since no GPU could be traced.
GPU_NAMES = (
    "connect", "eventfd2", "fstatfs", "ioctl", "memfd_create", "mincore", "poll", "ppoll",
    "sched_get_priority_max", "sched_get_priority_min", "socket", "statfs", "sysinfo",
)  # fmt: skip


def profile(*, gpus: bool = False) -> str:
    """JSON text for the security option ``seccomp=``."""
    extra: Mapping[str, Rules] = dict.fromkeys(GPU_NAMES, ((),)) if gpus else {}
    always: list[str] = []
    syscalls: list[dict[str, Any]] = []
    for name in sorted({*CHILD, *STARTING, *extra}):
        rules = {rule for part in (CHILD, STARTING, extra) for rule in part.get(name, ())}
        if () in rules:
            always.append(name)
        else:
            syscalls += [_allow([name], rule) for rule in sorted(rules)]
    # glibc tries clone3 first, whose flags no filter can see, and then falls back to clone.
    missing = {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.ENOSYS}
    machines = ("SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64")
    return json.dumps(
        {
            "defaultAction": "SCMP_ACT_ERRNO",
            "defaultErrnoRet": errno.EPERM,
            # Without the 32-bit and x32 entry points: a call through these ends the process.
            "archMap": [{"architecture": name, "subArchitectures": []} for name in machines],
            "syscalls": [_allow(always, ()), *syscalls, missing],
        }
    )


def _allow(names: list[str], rule: tuple[Condition, ...]) -> dict[str, Any]:
    arguments = [
        {
            "index": condition.argument,
            "value": condition.mask,
            "valueTwo": condition.value,
            "op": "SCMP_CMP_MASKED_EQ",
        }
        for condition in rule
    ]
    return {"names": names, "action": "SCMP_ACT_ALLOW", "args": arguments}
