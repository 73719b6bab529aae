"""Check that every flag really holds on this machine, by trying it, not by reading settings."""

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sandbox.client import Sandbox
from sandbox.codes import Code
from sandbox.engine import ContainerEngine
from sandbox.errors import SandboxError
from sandbox.image import Kind, ensure_image
from sandbox.limits import MIB, Limits
from sandbox.outcomes import Accepted, Rejected

_HONEST = "def score(W, stats, params):\n    return W.abs()\n"
_BOMB = """
import torch

def score(W, stats, params):
    kept = []
    while True:
        kept.append(torch.ones(1 << 22))
"""
# Runs in the container, without the inner filter, to test Docker's own flags.
_LOOK = """
import ctypes, errno, mmap, os, platform, resource, threading

libc = ctypes.CDLL(None, use_errno=True)
column = ("x86_64", "aarch64").index(platform.machine())

def refused(function):
    # Only the wall's own answer counts; a call that fails by itself proves nothing.
    try:
        return f"gave-{function()}".replace(" ", "-")[:40]
    except OSError as error:
        return "refused" if error.errno == errno.EPERM else errno.errorcode[error.errno]

def call(numbers, *arguments):
    result = libc.syscall(*map(ctypes.c_long, (numbers[column], *arguments)))
    if result < 0:
        raise OSError(ctypes.get_errno(), "")
    return result

def unlisted():
    # io_setup, setpriority, add_key, memfd_create, fallocate.
    numbers = ((206, 0), (141, 140), (248, 217), (319, 279), (285, 47))
    return "+".join(sorted({refused(lambda: call(pair, 0, 0, 0)) for pair in numbers}))

def core():
    limit = resource.getrlimit(resource.RLIMIT_CORE)
    lower = (ctypes.c_ulong * 2)(0, 1)
    change = refused(lambda: call((302, 261), 0, resource.RLIMIT_CORE, ctypes.addressof(lower), 0))
    # Of a process that may not be dumped the files in /proc are root's.
    dumpable = "no" if os.stat("/proc/self/mem").st_uid == 0 else "yes"
    return f"{limit[0]}/{limit[1]}:{change}:{dumpable}:{refused(lambda: call((157, 167), 4, 1))}"

def huge():
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40000
    return refused(lambda: len(mmap.mmap(-1, 1 << 21, flags=flags)))

def terminals():
    found = os.listdir("/dev/pts")
    for path in ("/dev/ptmx", "/dev/tty", "/dev/console"):
        try:
            found.append(path if os.open(path, os.O_RDWR) else "")
        except OSError:
            continue
    return ",".join(found) or "none"

def fields():
    lines = open("/proc/self/status").read().splitlines()
    return dict(line.split(":\\t", 1) for line in lines if ":\\t" in line)

def writable():
    folders = ("", "/dev", "/dev/mqueue", "/dev/pts", "/dev/shm", "/in", "/opt/autoprune", "/out",
               "/proc", "/run", "/sys", "/sys/fs/cgroup", "/tmp", "/var/tmp")
    for path in (f"{folder}/x" for folder in folders):
        try:
            open(path, "w")
            return path
        except OSError:
            continue
    return "none"

def ptrace():
    try:
        return str(len(os.listdir("/proc/1/fd")))
    except OSError:
        return "refused"

def threads():
    event = threading.Event()
    try:
        for number in range(1000):
            threading.Thread(target=event.wait, daemon=True).start()
        return number
    except RuntimeError:
        return number
    finally:
        event.set()

def score(W, stats, params):
    status = fields()
    caps = max(int(status[name], 16) for name in ("CapEff", "CapPrm", "CapBnd"))
    nets = ",".join(line.split(":")[0].strip() for line in open("/proc/net/dev") if ":" in line)
    raise ValueError(
        f"LOOK net={nets} caps={caps} nnp={status['NoNewPrivs']} "
        f"bpf={status.get('Seccomp', 'none')} "
        f"uid={os.getuid()} write={writable()} broker={ptrace()} threads={threads()} "
        f"unlisted={unlisted()} core={core()} huge={huge()} pts={terminals()} END"
    )
"""


@dataclass(frozen=True)
class SelfCheck:
    """One line of the self-check.

    Args:
        name: What was tried.
        ok: Whether it holds.
        detail: What was seen.
        fix: What to do when it does not hold; empty otherwise.
    """

    name: str
    ok: bool
    detail: str
    fix: str = ""


def preflight(image: Kind = "auto", *, runtime: str | None = None) -> list[SelfCheck]:
    """Try the daemon, the image and every barrier of the container; takes about ten seconds."""
    checks: list[SelfCheck] = []
    for check in _steps(image, runtime):
        checks.append(check)
    return checks


def _steps(image: Kind, runtime: str | None) -> Iterator[SelfCheck]:
    try:
        engine = ContainerEngine()
    except SandboxError as error:
        yield SelfCheck("docker", False, str(error), "install and start Docker Engine")
        return
    try:
        info = engine.api.info()
        yield SelfCheck(
            "docker",
            True,
            f"Engine {info.get('ServerVersion')}, API {engine.api.api_version}, "
            f"cgroup v{info.get('CgroupVersion', '?')}, {info.get('OperatingSystem')}",
        )
        try:
            made = ensure_image(image, engine=engine)
        except SandboxError as error:
            yield SelfCheck("image", False, str(error), "autoprune doctor --build")
            return
        yield SelfCheck("image", True, str(made))
    finally:
        engine.close()
    limits = Limits(
        probe_s=20, memory_bytes=384 * MIB, syscall_filter=False, runtime=runtime, warm=1
    )
    with tempfile.TemporaryDirectory() as folder:
        try:
            sandbox = Sandbox(
                inputs=Path(folder),
                image=image,
                limits=limits,
                run_id="preflight",
                screening=False,
            )
            with sandbox:
                yield from _inside(sandbox)
        except SandboxError as error:
            yield SelfCheck("container", False, str(error), "see the message; then run this again")


def _inside(sandbox: Sandbox) -> Iterator[SelfCheck]:
    start = time.perf_counter()
    honest = sandbox.probe(_HONEST)
    seconds = time.perf_counter() - start
    good = isinstance(honest, Accepted)
    detail = f"started, scored and judged in {seconds:.1f} s" if good else _said(honest)
    yield SelfCheck("container", good, detail, "" if good else "run the same command again")
    look = sandbox.probe(_LOOK)
    seen = _parse_look(look)
    for name, key, holds, meaning, fix in _WALLS:
        value = seen.get(key)
        ok = value is not None and holds(value)
        yield SelfCheck(
            name, ok, f"{meaning}: {value}" if value else _said(look), "" if ok else fix
        )
    bomb = sandbox.probe(_BOMB)
    contained = isinstance(bomb, Rejected) and bomb.code is Code.OOM
    yield SelfCheck(
        "memory limit",
        contained,
        "a memory bomb was ended by the kernel" if contained else _said(bomb),
        "" if contained else "the kernel needs the memory cgroup controller",
    )


_SECCOMP = "Docker must apply the seccomp profile that it is handed"
_WALLS: tuple[tuple[str, str, Callable[[str], bool], str, str], ...] = (
    ("network", "net", lambda v: v == "lo", "interfaces", "Docker must honour --network none"),
    ("capabilities", "caps", lambda v: v == "0", "largest set", "Docker must honour --cap-drop"),
    ("privileges", "nnp", lambda v: v == "1", "NoNewPrivs", "Docker must honour no-new-privileges"),
    ("system calls", "bpf", lambda v: v == "2", "Seccomp", "use a kernel and Docker with seccomp"),
    ("other calls", "unlisted", lambda v: v == "refused", "what no scoring needs", _SECCOMP),
    ("huge pages", "huge", lambda v: v == "refused", "pages that no limit counts", _SECCOMP),
    (
        "crash handler",
        "core",
        lambda v: v == "1/1:refused:no:refused",
        "core limit, its change, dumpable, becoming so",
        "Docker must honour --ulimit core and the seccomp profile",
    ),
    ("terminals", "pts", lambda v: v == "none", "found", "Docker must mount an empty /dev/pts"),
    ("user", "uid", lambda v: v not in ("0", ""), "user id", "the image must not run as root"),
    ("disk", "write", lambda v: v == "none", "writable paths", "Docker must honour --read-only"),
    ("broker", "broker", lambda v: v == "refused", "its descriptors", "/proc must hide them"),
    (
        "processes",
        "threads",
        lambda v: v.isdigit() and int(v) < 100,
        "threads that could start",
        "the kernel needs the pids cgroup controller",
    ),
)


def _parse_look(outcome: Accepted | Rejected) -> dict[str, str]:
    if not isinstance(outcome, Rejected) or "LOOK " not in outcome.detail:
        return {}
    text = outcome.detail.partition("LOOK ")[2].partition(" END")[0]
    return dict(part.split("=", 1) for part in text.split() if "=" in part)


def _said(outcome: Accepted | Rejected) -> str:
    if isinstance(outcome, Accepted):
        return "it was accepted, against expectation"
    return f"{outcome.code}: {outcome.detail}"
