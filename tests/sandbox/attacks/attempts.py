"""Things that must be refused. Each function tries one and returns what it got (a breach); to be
refused it may raise, or return None. Names: ``a`` holds with and without the inner system-call
filter, ``f`` is what the filter adds. The text of this file is shipped into the container.
"""

# Plain os calls are what the attacks are about.
# ruff: noqa: PTH101, PTH102, PTH104, PTH108, PTH120, PTH208, PTH211
import ctypes
import gc
import mmap
import os
import resource
import socket
import stat
import struct
import sys
from pathlib import Path

import torch

LIBC = ctypes.CDLL(None, use_errno=True)
ALLOWED_ENVIRONMENT = {
    "PATH", "HOME", "HOSTNAME", "LC_ALL", "LD_LIBRARY_PATH", "OMP_NUM_THREADS", "MKL_NUM_THREADS",
    "PYTHONHASHSEED", "CUBLAS_WORKSPACE_CONFIG", "KMP_DUPLICATE_LIB_OK", "KMP_INIT_AT_FORK",
    "TORCHINDUCTOR_CACHE_DIR", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_",
}  # fmt: skip


def call(number, *arguments):
    """One system call of x86_64; its result when it did not fail."""
    if os.uname().machine != "x86_64":
        return None
    result = LIBC.syscall(ctypes.c_long(number), *[ctypes.c_long(value) for value in arguments])
    return f"syscall {number} gave {result}" if result >= 0 else None


def read(path, size=200):
    with Path(path).open("rb") as stream:
        return stream.read(size) or None


def write(path):
    with Path(path).open("ab") as stream:
        stream.write(b"x")
    return f"wrote {path}"


def first(function, values):
    for value in values:
        try:
            got = function(value)
        except OSError:
            continue
        if got:
            return value, got
    return None


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
    stream.connect("\0autoprune-attack-suite")
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
    return call(101, 0x4206, 1, 0, 0)


def a019_ptrace_zygote():
    return call(101, 16, os.getppid(), 0, 0)


def a020_read_memory_of_the_zygote():
    buffer = ctypes.create_string_buffer(16)
    vector = struct.pack("QQ", ctypes.addressof(buffer), 16)
    local = ctypes.create_string_buffer(vector, 16)
    address = ctypes.addressof(local)
    return call(310, os.getppid(), address, 1, address, 1, 0)


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
    return len(os.listdir("/in")) != 3 and os.listdir("/in")


def a030_other_cells():
    return first(os.listdir, ["/in/..data", "/dev/shm", "@INPUTS@"])


def a031_nonce_in_reach():
    return [dict(thing) for thing in gc.get_objects() if type(thing) is dict and "nonce" in thing]


def a032_secret_in_fresh_memory():
    block = bytes(torch.empty(1 << 22, dtype=torch.uint8).numpy().tobytes())
    return b"@SECRET_MARK@" in block


def a033_own_result_file_read():
    return read("/out/result")


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
    return first(lambda name: write(f"{folder}/{name}"), [*os.listdir(folder), "new.py"])


def input_paths():
    return [f"/in/{name}" for name in os.listdir("/in")]


def a045_inputs():
    return first(write, [*input_paths(), "/in/x"])


def a046_inputs_by_mode():
    return first(lambda path: os.chmod(path, 0o666) or "chmod", input_paths())


def a047_inputs_removed():
    return first(lambda path: os.unlink(path) or "unlink", [*input_paths(), "/out/result"])


def a048_inputs_mapped():
    fd = os.open(input_paths()[0], os.O_RDONLY)
    mmap.mmap(fd, 10, mmap.MAP_SHARED, mmap.PROT_WRITE)[0:1] = b"x"
    return "mapped"


def a049_inputs_by_torch():
    torch.from_file(input_paths()[0], shared=True, size=16, dtype=torch.uint8).fill_(7)
    return "filled"


def a050_result_replaced():
    return first(
        lambda name: os.symlink("/etc/passwd", f"/out/{name}") or "link", ["result", "result2"]
    )


def a051_result_renamed():
    os.rename("/out/result", "/out/other")
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
    path.write_text("-1000", encoding="ascii")
    return path.read_text(encoding="ascii")


# Kernel


def a060_user_namespace():
    return call(272, 0x10000000)


def a061_mount_namespace():
    return call(272, 0x00020000)


def a062_mount():
    return call(165, 0, 0, 0, 0, 0)


def a063_pivot_and_chroot():
    os.chroot("/proc")
    return "chroot"


def a064_join_namespace():
    fd = os.open("/proc/1/ns/net", os.O_RDONLY)
    return call(308, fd, 0)


def a065_device_node():
    return first(
        lambda path: os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 1)) or "made",
        ["/tmp/x", "/dev/x", "/x"],
    )


def a066_devices():
    names = ["mem", "kmsg", "fuse", "kvm", "sda", "vda", "nvidia0", "nvidiactl", "loop0", "net/tun"]
    return [name for name in names if Path(f"/dev/{name}").exists()]


def a067_become_root():
    return first(lambda user: os.setuid(user) or "root", [0, 1]) or (os.geteuid() == 0)


def a068_capabilities():
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    fields = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    full = [name for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb") if int(fields[name], 16)]
    return full or (fields["NoNewPrivs"] != "1" and "privs") or (fields["Seccomp"] != "2" and "bpf")


def a069_setuid_programs():
    for folder, _, names in os.walk("/", onerror=None):
        if folder.startswith(("/proc", "/sys")):
            continue
        for name in names:
            try:
                mode = os.lstat(f"{folder}/{name}").st_mode
            except OSError:
                continue
            if stat.S_ISREG(mode) and mode & (stat.S_ISUID | stat.S_ISGID):
                return f"{folder}/{name}"
    return None


def a070_keys():
    return call(250, 0, -3, 0) or call(248, 0, 0, 0, 0, -3)


def a071_bpf():
    return call(321, 0, 0, 0)


def a072_performance_events():
    return call(298, 0, 0, -1, -1, 0)


def a073_io_uring():
    buffer = ctypes.create_string_buffer(256)
    return call(425, 4, ctypes.addressof(buffer))


def a074_userfaultfd():
    return call(323, 0)


def a075_modules_and_kexec():
    return call(175, 0, 0, 0) or call(313, -1, 0, 0) or call(246, 0, 0, 0, 0)


def a076_clock_and_name():
    return call(227, 0, 0) or call(164, 0, 0) or call(170, 0, 0)


def a077_ports():
    return call(172, 3) or call(173, 0, 1, 1)


def a078_reboot_swap_accounting():
    return call(169, 0, 0, 0, 0) or call(167, 0, 0) or call(163, 0)


def a079_open_by_handle():
    buffer = ctypes.create_string_buffer(64)
    return call(304, 3, ctypes.addressof(buffer), 0)


def a080_copy_descriptor_of_the_zygote():
    fd = LIBC.syscall(ctypes.c_long(434), ctypes.c_long(os.getppid()), ctypes.c_long(0))
    return call(438, fd, 3, 0)


def a081_realtime_priority():
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
    return "fifo"


def a082_negative_nice():
    return os.nice(-10) < 0


def a083_kill_broker():
    os.kill(1, 9)
    os.kill(1, 19)
    os.kill(1, 2)


def a084_unmapped_syscall_abi():
    return call(0x40000000 + 39)


# What the inner filter adds


def f090_any_socket():
    return socket.socket(socket.AF_INET)


def f091_crypto_socket():
    return socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET)


def f092_fork():
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    return pid


def f093_run_a_program():
    import subprocess

    return subprocess.run([sys.executable, "-c", "print(1)"], capture_output=True, check=False)


def f094_replace_this_process():
    os.execv("/opt/autoprune/python/bin/python3", ["python3", "--version"])


def f095_signal_the_zygote():
    os.kill(os.getppid(), 0)
    return "signalled"


def f096_limit_the_zygote():
    return resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE)


def f097_shared_memory():
    return call(29, 0, 4096, 0o1600)


def f098_torch_processes():
    import torch.multiprocessing

    process = torch.multiprocessing.Process(target=print)
    process.start()
    return process.pid


def f099_torch_store():
    from torch.distributed import TCPStore

    return TCPStore("127.0.0.1", 29511, 1, True)
