"""The Docker Engine: the connection, the flags of a container, and how to kill one.

The low-level client is used on purpose: it returns the daemon's warnings (a limit that the
kernel lacks), never pulls, and never reads output into memory. The order of the steps avoids
known traps: an unread attached stream makes ``kill`` hang, ``stop`` waits ten seconds for a
PID 1 that ignores signals, and JSON logs fill the host's disk.
"""

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import docker
import requests
from docker.errors import APIError, DockerException, ImageNotFound, NotFound

from sandbox.errors import SandboxBrokenError, SandboxUnavailableError
from sandbox.image_ref import ImageRef
from sandbox.limits import Limits
from sandbox.seccomp import profile
from sandbox.worker.broker import RESULT

LABEL = "autoprune.sandbox"
USER = "65534:65534"
MINIMUM_API = (1, 41)
CALL_TIMEOUT_S = 20
# gVisor also counts the threads of its own kernel, which grow with the number of mounted files.
RUNTIME_PIDS = 192
HOME = "/opt/autoprune"
ENTRY = (
    f"import sys; sys.path[:0] = ['{HOME}/app', '{HOME}/packages']; "
    "from worker.broker import main; main()"
)
ENVIRONMENT = {
    "PATH": f"{HOME}/python/bin",
    "HOME": "/nonexistent",
    "LC_ALL": "C.UTF-8",
    "LD_LIBRARY_PATH": f"{HOME}/lib",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
    # Keep a tensor's memory for the next layer: getting new pages costs more than computing.
    "MALLOC_MMAP_THRESHOLD_": "33554432",
    "MALLOC_TRIM_THRESHOLD_": "268435456",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
}
# Mounted by Docker but not needed here: named message queues (a writable folder), terminals,
# and counters of the container (a channel from one candidate to the next).
EMPTY = ("/dev/mqueue", "/dev/pts", "/sys/fs/cgroup")
# Read as empty: what Docker masks by default, then counters of the whole host, which are useful
# only as a channel from one run to another.
MASKED = (
    "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
    "/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/firmware",
    "/sys/devices/virtual/powercap",
    "/proc/buddyinfo", "/proc/diskstats", "/proc/interrupts", "/proc/iomem", "/proc/ioports",
    "/proc/kallsyms", "/proc/key-users", "/proc/loadavg", "/proc/locks", "/proc/modules",
    "/proc/meminfo", "/proc/pagetypeinfo", "/proc/pressure", "/proc/schedstat",
    "/proc/slabinfo", "/proc/softirqs", "/proc/stat", "/proc/swaps", "/proc/sys/fs",
    "/proc/sysvipc", "/proc/uptime", "/proc/vmstat", "/proc/zoneinfo", "/sys/block",
    "/sys/class/net", "/sys/devices/system/node", "/sys/kernel",
)  # fmt: skip
ENGINE_ERRORS = (DockerException, requests.exceptions.RequestException, OSError)


@dataclass(frozen=True)
class ContainerState:
    """What the daemon says about a container.

    Args:
        present: The container still exists.
        running: It is running.
        exit_code: Its exit code once it has ended.
        oom: The kernel killed something in it for lack of memory.
        pid: Host pid of its first process, 0 once it has ended.
    """

    present: bool
    running: bool = False
    exit_code: int = 0
    oom: bool = False
    pid: int = 0


class ContainerEngine:
    """One connection to the local daemon; make one per thread.

    Raises:
        SandboxUnavailableError: If no daemon answers, it is too old, or it runs on another machine.
    """

    def __init__(self) -> None:
        host = os.environ.get("DOCKER_HOST", "")
        if host and not host.startswith("unix://"):
            raise SandboxUnavailableError(
                f"DOCKER_HOST is {host!r}, another machine; inputs are handed over by local "
                "mounts, so a local Docker Engine is needed; unset DOCKER_HOST or install Docker "
                "here"
            )
        try:
            self.api: Any = docker.APIClient(
                base_url=host or None, version="auto", timeout=CALL_TIMEOUT_S
            )
        except ENGINE_ERRORS as error:
            raise SandboxUnavailableError(
                f"no Docker Engine answers ({_cause(error)}); designed Python runs only in "
                "a container; install Docker and start it (Debian: apt-get install docker.io, "
                "then systemctl start docker, or dockerd &), or use formulas, which need none: "
                "autoprune search --sandbox off, or --metric 'expr:...' in place of a file"
            ) from error
        version = tuple(int(part) for part in str(self.api.api_version).split("."))
        if version < MINIMUM_API:
            raise SandboxUnavailableError(
                f"Docker API {self.api.api_version} is too old; 1.41 (Engine 20.10) or newer is "
                "needed; update Docker"
            )

    def create(
        self,
        image: ImageRef,
        limits: Limits,
        *,
        memory: int,
        labels: Mapping[str, str],
        inputs: str,
        result: str,
    ) -> str:
        """Create a locked container without starting it, and return its id."""
        host = self._host_config(image, limits, memory, inputs, result)
        command = [f"{HOME}/python/bin/python3", "-s", "-S", "-P", "-B", "-c", ENTRY]
        try:
            created = self.api.create_container(
                image.tag,
                [*command, f"{limits.lifetime_s:g}"],
                entrypoint=[],
                user=USER,
                working_dir="/",
                hostname="sandbox",
                # The first process ignores other signals: a stopping daemon would wait for it.
                stop_signal="SIGKILL",
                environment=ENVIRONMENT,
                labels={LABEL: "1", **labels},
                stdin_open=True,
                tty=False,
                network_disabled=True,
                host_config=host,
                use_config_proxy=False,
            )
        except ImageNotFound as error:
            raise SandboxUnavailableError(
                f"image {image.tag} is missing; run: autoprune doctor --build"
            ) from error
        warnings = [text for text in created.get("Warnings") or [] if text]
        if warnings:
            self.remove(created["Id"])
            raise SandboxUnavailableError(
                f"the daemon cannot enforce a limit ({'; '.join(warnings)[:300]}); every limit "
                "must hold; use a kernel with that cgroup controller"
            )
        return cast(str, created["Id"])

    def _host_config(
        self, image: ImageRef, limits: Limits, memory: int, inputs: str, result: str
    ) -> dict[str, Any]:
        """Return the limits, mounts and rights of a container; see :meth:`create`."""
        mounts = [_mount(source, target) for source, target in image.mounts]
        mounts.append(_mount(inputs, "/in"))
        mounts.append(_mount(result, RESULT, writable=True))
        host: dict[str, Any] = self.api.create_host_config(
            network_mode="none",
            read_only=True,
            cap_drop=["ALL"],
            security_opt=["no-new-privileges", f"seccomp={profile(gpus=bool(limits.gpus))}"],
            pids_limit=limits.pids + (RUNTIME_PIDS if limits.runtime else 0),
            mem_limit=memory,
            memswap_limit=memory,
            nano_cpus=int(limits.cpus * 1e9),
            ulimits=[
                # Not 0: where core files go to a pipe, the kernel starts the handler as root on
                # the host whatever the limit, except for this one value (core(5)).
                docker.types.Ulimit(name="core", soft=1, hard=1),
                docker.types.Ulimit(name="nofile", soft=256, hard=256),
            ],
            ipc_mode="none",
            cgroupns="private",
            mounts=mounts,
            tmpfs=dict.fromkeys((*image.masked, *EMPTY), "ro,noexec,nosuid,nodev,size=4k"),
            log_config=docker.types.LogConfig(type="none"),
            restart_policy={"Name": "no"},
            runtime=limits.runtime,
            device_requests=_gpu_request(limits.gpus),
        )
        host["MaskedPaths"] = list(MASKED)
        return host

    def require_runtime(self, name: str | None) -> None:
        """Fail early if the daemon does not know an OCI runtime; None is its default."""
        if name is None:
            return
        known = sorted(self.api.info().get("Runtimes") or {})
        if name not in known:
            raise SandboxUnavailableError(
                f"the Docker Engine has no runtime {name!r} (it has {', '.join(known)}); install "
                'it, name it under "runtimes" in daemon.json (for gVisor with runtimeArgs '
                "--platform=systrap and --network=none) and restart Docker, or leave it out"
            )

    def attach(self, container: str) -> Any:
        """Attach to stdin, stdout and stderr; return the raw socket."""
        stream = self.api.attach_socket(
            container, params={"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
        )
        return getattr(stream, "_sock", stream)

    def start(self, container: str) -> None:
        """Start the container."""
        self.api.start(container)

    def raise_memory(self, container: str, memory: int) -> None:
        """Give a waiting container more memory, still without swap."""
        self.api.update_container(container, mem_limit=memory, memswap_limit=memory)

    def state(self, container: str) -> ContainerState:
        """Ask the daemon for the container's state."""
        try:
            info = self.api.inspect_container(container)["State"]
        except NotFound:
            return ContainerState(present=False)
        except ENGINE_ERRORS as error:
            raise SandboxBrokenError(
                f"the Docker Engine no longer answers ({_first_line(error)}); start it and run "
                "the same command again, nothing is lost"
            ) from error
        return ContainerState(
            present=True,
            running=bool(info["Running"]),
            exit_code=int(info["ExitCode"]),
            oom=bool(info["OOMKilled"]),
            pid=int(info["Pid"]),
        )

    def remove(self, container: str) -> bool:
        """Kill and remove; True when it is gone. Close the attached stream first."""
        with contextlib.suppress(*ENGINE_ERRORS):
            self.api.kill(container)
        try:
            self.api.remove_container(container, force=True, v=True)
        except NotFound:
            return True
        except APIError as error:
            # 409: the daemon is removing it already.
            return error.status_code == 409
        except ENGINE_ERRORS:
            return False
        return True

    def list(self, label: str = f"{LABEL}=1") -> list[dict[str, Any]]:
        """All containers with a label, running or not."""
        return cast(list[dict[str, Any]], self.api.containers(all=True, filters={"label": [label]}))

    def close(self) -> None:
        """Close the connection."""
        self.api.close()


def _gpu_request(gpus: Sequence[str]) -> list[docker.types.DeviceRequest] | None:
    if not gpus:
        return None
    return [docker.types.DeviceRequest(device_ids=list(gpus), capabilities=[["gpu"]])]


def _mount(source: str, target: str, *, writable: bool = False) -> docker.types.Mount:
    return docker.types.Mount(target, source, type="bind", read_only=not writable)


def _cause(error: BaseException) -> str:
    """What the system said, in words; the client's own message shows it as a Python object."""
    deepest: BaseException | None = error
    while deepest is not None:
        if isinstance(deepest, OSError) and deepest.strerror:
            return deepest.strerror
        deepest = deepest.__cause__ or deepest.__context__
    return _first_line(error)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
