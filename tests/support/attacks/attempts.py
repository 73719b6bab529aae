"""Things that must be refused. Each function tries one and returns what it got (a breach); to be
refused it may raise, or return None. ``refusals`` says how each is refused, exactly. The text of
this file is shipped into the container.
"""

# Plain os calls are what the attacks are about.
# ruff: noqa: PTH101, PTH102, PTH104, PTH108, PTH120, PTH208, PTH211
import ctypes
import errno
import gc
import mmap
import os
import resource
import socket
import struct
import sys
from pathlib import Path

import torch

from tests.support.attacks.call_numbers import NUMBERS

SECRET_MARK = b"@SECRET_MARK@"
LIBC = ctypes.CDLL(None, use_errno=True)
ALLOWED_ENVIRONMENT = {
    "PATH", "HOME", "HOSTNAME", "LC_ALL", "LD_LIBRARY_PATH", "OMP_NUM_THREADS", "MKL_NUM_THREADS",
    "PYTHONHASHSEED", "CUBLAS_WORKSPACE_CONFIG", "KMP_DUPLICATE_LIB_OK", "KMP_INIT_AT_FORK",
    "TORCHINDUCTOR_CACHE_DIR", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_",
}  # fmt: skip


class RefusalsError(Exception):
    """Several tries, each refused; holds the numbers of the errors."""


def call(name, *arguments):
    """One system call by name; a text when it did not fail."""
    number = NUMBERS[name][("x86_64", "aarch64").index(os.uname().machine)]
    if number is None:
        raise NotImplementedError(name)
    result = LIBC.syscall(ctypes.c_long(number), *[ctypes.c_long(value) for value in arguments])
    if result < 0:
        raise OSError(ctypes.get_errno(), name)
    if name == "clone" and result == 0:
        os._exit(0)
    return f"{name} gave {result}"


def read(path, size=200):
    with Path(path).open("rb") as stream:
        return stream.read(size) or None


def write(path):
    with Path(path).open("ab") as stream:
        stream.write(b"x")
    return f"wrote {path}"


def first(function, values):
    """What the first value that is not refused gives; raises when each one is."""
    refused = set()
    for value in values:
        try:
            got = function(value)
        except OSError as error:
            refused.add(error.errno)
            continue
        if got:
            return value, got
        refused.add(0)
    if refused <= {0}:
        return None
    raise RefusalsError(*refused)


def outcome(function):
    """What came of an attempt, in one word: ``got``, ``nothing``, or how it was refused."""
    try:
        got = function()
    except RefusalsError as refusals:
        names = [errno.errorcode[number] if number else "nothing" for number in refusals.args]
        return "+".join(sorted(names))
    except OSError as error:
        return errno.errorcode.get(error.errno, type(error).__name__)
    except BaseException as error:
        return type(error).__name__
    return "got" if got else "nothing"


# Reach out


def a001_tcp_connect():
    return socket.create_connection(("192.0.2.1", 80), timeout=2)


def a002_name_lookup():
    return socket.gethostbyname("example.org")


def a003_udp_send():
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("192.0.2.1", 53))


def a004_raw_socket():
    return socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)


def a005_vsock():
    stream = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
    stream.settimeout(2)
    stream.connect((2, 22))
    return stream


def a006_abstract_socket_of_the_host():
    stream = socket.socket(socket.AF_UNIX)
    stream.connect("\0@SOCKET@")
    return stream


def a007_docker_socket():
    return first(
        lambda path: Path(path).exists(),
        ["/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock"],
    )


def a008_metadata_address():
    return socket.create_connection(("169.254.169.254", 80), timeout=2)


def a009_other_interface():
    return [name for _, name in socket.if_nameindex() if name != "lo"]


def a010_ipv6():
    return socket.create_connection(("2001:db8::1", 80), timeout=2)


# Read


def a011_environment():
    return {name: value for name, value in os.environ.items() if name not in ALLOWED_ENVIRONMENT}


def a012_broker_environment():
    return read("/proc/1/environ")


def a013_broker_memory():
    return read("/proc/1/mem")


def a014_broker_descriptors():
    return os.listdir("/proc/1/fd") or None


def a015_zygote_memory():
    return read(f"/proc/{os.getppid()}/mem")


def a016_zygote_descriptors():
    return os.listdir(f"/proc/{os.getppid()}/fd") or None


def a017_zygote_memory_after_becoming_dumpable():
    LIBC.prctl(4, 1, 0, 0, 0)
    return read(f"/proc/{os.getppid()}/maps")


def a018_ptrace_broker():
    return call("ptrace", 0x4206, 1, 0, 0)


def a019_ptrace_zygote():
    return call("ptrace", 0x4206, os.getppid(), 0, 0)


def a020_read_memory_of_the_zygote():
    buffer = ctypes.create_string_buffer(16)
    vector = struct.pack("QQ", ctypes.addressof(buffer), 16)
    local = ctypes.create_string_buffer(vector, 16)
    address = ctypes.addressof(local)
    return call("process_vm_readv", os.getppid(), address, 1, address, 1, 0)


def a021_password_file():
    return first(read, ["/etc/shadow", "/etc/passwd", "/etc/sudoers"])


def a022_homes():
    return first(os.listdir, ["/root", "/home", "/work", "/mnt", "/media", "/srv"])


def a023_planted_file():
    return read("@SECRET_FILE@")


def a024_kernel_memory():
    return first(read, ["/proc/kcore", "/dev/mem", "/dev/kmem", "/dev/port", "/proc/kpagecount"])


def a025_kernel_keys_and_timers():
    return first(
        read, ["/proc/keys", "/proc/timer_list", "/proc/sched_debug", "/proc/latency_stats"]
    )


def a026_firmware():
    return first(os.listdir, ["/sys/firmware/dmi", "/sys/firmware/efi", "/sys/firmware/acpi"])


def a027_kernel_log():
    return first(read, ["/dev/kmsg", "/proc/kmsg"])


def a028_files_beyond_the_image():
    known = {"bin", "dev", "etc", "in", "lib", "lib64", "opt", "out", "proc", "sys", "usr"}
    known |= {".dockerenv", "tmp", "var", "run"}
    return [name for name in os.listdir("/") if name not in known]


def a029_other_layers():
    # Three layers and four variants of them: the probe's own.
    return len(os.listdir("/in")) != 7 and os.listdir("/in")


def a030_other_cells():
    return first(os.listdir, ["/in/..data", "/dev/shm", "@INPUTS@"])


def a031_nonce_in_reach():
    return [dict(thing) for thing in gc.get_objects() if type(thing) is dict and "nonce" in thing]


def a032_secret_in_fresh_memory():
    block = bytes(torch.empty(1 << 22, dtype=torch.uint8).numpy().tobytes())
    return SECRET_MARK in block


def a033_own_result_file_read():
    return read("/out/scores")


def a034_own_result_descriptor_read():
    return first(lambda fd: os.read(fd, 10), [4]) or read("/proc/self/fd/4")


def a035_shell_and_tools():
    return first(
        lambda path: Path(path).exists(),
        ["/bin/sh", "/bin/bash", "/usr/bin/gcc", "/usr/bin/cc", "/usr/bin/pip", "/usr/bin/python3"],
    )


def a036_package_tools():
    import importlib.util

    names = ["pip", "docker", "mlflow", "prefect", "requests", "autoprune", "sandbox"]
    return [name for name in names if importlib.util.find_spec(name)]


# Write


def a040_root():
    return first(write, ["/x", "/usr/x", "/etc/ld.so.preload", "/opt/autoprune/x"])


def a041_temporary_folders():
    return first(write, ["/tmp/x", "/var/tmp/x", "/run/x", "/dev/shm/x", "/dev/x", "/dev/mqueue/x"])


def a042_packages():
    return first(write, [torch.__file__, f"{os.path.dirname(torch.__file__)}/x.py"])


def a043_python_path():
    return first(lambda folder: write(f"{folder}/sitecustomize.py"), [p for p in sys.path if p])


def a044_worker():
    folder = "/opt/autoprune/app/worker"
    # Not a folder of compiled files, which the host may have made there.
    files = [name for name in os.listdir(folder) if name.endswith(".py")]
    return first(lambda name: write(f"{folder}/{name}"), [*files, "new.py"])


def input_paths():
    return [f"/in/{name}" for name in os.listdir("/in")]


def a045_inputs():
    return first(write, [*input_paths(), "/in/x"])


def a046_inputs_by_mode():
    return first(lambda path: os.chmod(path, 0o666) or "chmod", input_paths())


def a047_inputs_removed():
    return first(lambda path: os.unlink(path) or "unlink", [*input_paths(), "/out/scores"])


def a048_inputs_mapped():
    fd = os.open(input_paths()[0], os.O_RDONLY)
    mmap.mmap(fd, 10, mmap.MAP_SHARED, mmap.PROT_WRITE)[0:1] = b"x"
    return "mapped"


def a049_inputs_by_torch():
    torch.from_file(input_paths()[0], shared=True, size=16, dtype=torch.uint8).fill_(7)
    return "filled"


def a050_result_replaced():
    return first(
        lambda name: os.symlink("/etc/passwd", f"/out/{name}") or "link", ["scores", "scores2"]
    )


def a051_result_renamed():
    os.rename("/out/scores", "/out/other")
    return "renamed"


def a052_result_beyond_its_end():
    return os.pwrite(4, b"x", 1 << 30)


def a053_result_longer():
    os.ftruncate(4, 1 << 34)
    return "longer"


def a054_file_limit_raised():
    resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
    return "raised"


def a055_new_folder():
    return first(lambda path: os.mkdir(path) or "made", ["/x", "/tmp/x", "/in/x", "/out/x"])


def a056_core_pattern():
    return first(
        write,
        ["/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/proc/sys/vm/overcommit_memory",
         "/sys/fs/cgroup/release_agent", "/proc/sys/kernel/modprobe", "/sys/kernel/uevent_helper"],
    )  # fmt: skip


def a057_cgroup():
    return first(
        write,
        ["/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/pids/pids.max",
         "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/pids.max", "/sys/fs/cgroup/cgroup.procs"],
    )  # fmt: skip


def a058_oom_score():
    path = Path("/proc/self/oom_score_adj")
    path.write_text("500", encoding="ascii")
    return path.read_text(encoding="ascii")
