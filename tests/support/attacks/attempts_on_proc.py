"""Things that must be refused, fifth part: what /proc, /sys and /dev show, the result's own file.

See ``attempts``: the texts of all files are shipped into the container as one.
"""

# Plain os calls are what the attacks are about.
# ruff: noqa: PTH102, PTH116, PTH118, PTH208
import ctypes
import os
import socket
import sys
from pathlib import Path

from tests.support.attacks.attempts import LIBC, call, first, read, write

NEAR = ("1", str(os.getppid()))


def near(*names):
    """Paths of the broker and of the zygote in /proc."""
    return [f"/proc/{process}/{name}" for process in NEAR for name in names]


def a120_roots_of_broker_and_zygote():
    return first(os.listdir, near("root", "cwd", "map_files"))


def a121_programs_of_broker_and_zygote():
    return first(os.readlink, near("exe", "cwd", "root"))


def a122_namespaces_of_broker_and_zygote():
    return first(os.readlink, near("ns/net", "ns/pid", "ns/mnt", "ns/user"))


def a123_environment_of_the_zygote():
    return first(read, near("environ", "auxv"))


def a124_maps_of_broker_and_zygote():
    return first(read, near("maps", "smaps", "numa_maps", "pagemap"))


def a125_stack_and_io_of_broker_and_zygote():
    return first(read, near("stack", "io", "syscall", "personality"))


def a126_names_of_broker_and_zygote_changed():
    return first(write, near("comm"))


def a127_scores_of_broker_and_zygote_changed():
    return first(write, near("oom_score_adj", "oom_adj", "clear_refs", "timerslack_ns"))


def a128_sysctls_written():
    names = ["kernel/core_pattern", "kernel/randomize_va_space", "kernel/pid_max", "vm/drop_caches"]
    names += ["vm/nr_hugepages", "kernel/hostname", "net/ipv4/ip_forward", "kernel/dmesg_restrict"]
    return first(write, [f"/proc/sys/{name}" for name in names])


def a130_addresses_of_the_kernel():
    return first(read, ["/proc/kallsyms", "/proc/modules", "/proc/iomem", "/proc/vmallocinfo"])


def a131_pages_of_the_machine():
    return first(read, ["/proc/kpageflags", "/proc/kpagecgroup", "/proc/self/pagemap"])


def a132_debugging_file_systems():
    names = ["kernel/debug", "kernel/tracing", "fs/bpf", "fs/pstore", "kernel/security"]
    return first(os.listdir, [f"/sys/{name}" for name in names])


def a133_devices_of_the_machine_listed():
    return first(os.listdir, ["/sys/block", "/sys/class/net", "/sys/kernel"])


def a134_files_of_sys_written():
    names = ["power/state", "kernel/mm/transparent_hugepage/enabled", "block/vda/queue/nr_requests"]
    names += ["module/kernel/parameters/panic", "devices/system/cpu/cpu1/online"]
    return first(write, [f"/sys/{name}" for name in names])


def a135_cgroup_counters():
    root = "/sys/fs/cgroup"
    names = ["memory/memory.max_usage_in_bytes", "pids/pids.current", "cpu/cpu.stat", "memory.peak"]
    return first(read, [f"{root}/{name}" for name in names]) or os.listdir(root)


def a136_new_cgroup():
    return first(
        lambda path: os.mkdir(path) or "made", ["/sys/fs/cgroup/x", "/sys/fs/cgroup/pids/x"]
    )


def a137_counters_of_the_host():
    names = ["meminfo", "stat", "loadavg", "vmstat", "uptime", "interrupts", "softirqs", "locks"]
    names += ["zoneinfo", "diskstats", "schedstat", "buddyinfo", "sys/fs/aio-nr", "swaps"]
    return first(read, [f"/proc/{name}" for name in names])


def a138_consoles():
    return first(lambda name: os.open(f"/dev/{name}", os.O_RDWR), ["console", "tty", "tty0"])


def a139_new_terminal():
    return first(lambda path: os.open(path, os.O_RDWR), ["/dev/ptmx", "/dev/pts/ptmx"])


def a140_terminals_listed():
    return os.listdir("/dev/pts")


def a141_queue_as_a_file():
    fd = os.open("/dev/mqueue/x", os.O_CREAT | os.O_RDWR, 0o600)
    return f"descriptor {fd}"


def a142_queues_listed():
    return os.listdir("/dev/mqueue")


def a143_connections():
    names = ["tcp", "tcp6", "udp", "udp6", "raw", "arp", "route", "packet"]
    rows = [Path(f"/proc/net/{name}").read_text(encoding="ascii").splitlines() for name in names]
    return [row for table in rows for row in table[1:]]


def a144_name_servers():
    lines = Path("/etc/resolv.conf").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.startswith("nameserver")]


def a145_names_of_hosts():
    return Path("/etc/hostname").read_text(encoding="utf-8").strip() != "sandbox"


def a146_disks_and_machines():
    names = ["vda", "sda", "nvme0n1", "kvm", "vhost-net", "loop-control", "mapper/control", "nbd0"]
    return [name for name in names if Path(f"/dev/{name}").exists()]


def a147_devices_of_the_kernel():
    names = ["fuse", "userfaultfd", "udmabuf", "cpu/0/msr", "mem", "port", "hpet", "rtc0", "uinput"]
    return [name for name in names if Path(f"/dev/{name}").exists()]


def a148_out_of_a_mount():
    return first(read, ["/in/../etc/shadow", "/proc/../../etc/shadow", "/out/../../etc/shadow"])


def a149_result_by_a_path_descriptor():
    place = os.open("/out/scores", os.O_PATH)
    return os.open(f"/proc/self/fd/{place}", os.O_RDWR)


def a150_result_by_another_name():
    return first(lambda path: os.open(path, os.O_RDWR), ["/proc/self/fd/4", "/dev/fd/4"])


def a151_node_or_pipe_anywhere():
    folders = ["/", "/dev", "/dev/pts", "/dev/mqueue", "/in", "/out", "/opt/autoprune", "/proc"]
    return first(lambda folder: os.mkfifo(os.path.join(folder, "x")) or "made", folders)


def a152_file_anywhere():
    names = ["etc", "usr", "var", "home", "root", "opt", "proc", "sys", "sys/fs/cgroup", "dev/pts"]
    return first(write, [f"/{name}/x" for name in names])


def a153_name_server_s_library():
    answer = ctypes.create_string_buffer(512)
    library = ctypes.CDLL("libresolv.so.2")
    return library.res_query(b"example.org", 1, 1, answer, 512) or "asked"


def a154_listener_by_an_abstract_name():
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("\0x")
    return "bound"


def a155_netlink():
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)


def a156_pair_of_sockets_as_the_broker_has():
    return socket.socketpair(socket.AF_INET, socket.SOCK_STREAM)


def a157_own_memory_file():
    return os.open("/proc/self/mem", os.O_RDWR)


def a158_core_limit_lowered():
    lower = (ctypes.c_ulong * 2)(0, 1)
    return call("prlimit64", 0, 4, ctypes.addressof(lower), 0)


def a159_core_limit_that_starts_a_handler():
    import resource

    return resource.getrlimit(resource.RLIMIT_CORE) != (1, 1)


def a160_dumpable_again():
    return call("prctl", 4, 1, 0, 0, 0)


def a161_state_of_dumping():
    return os.stat("/proc/self/mem").st_uid != 0


def a162_huge_pages():
    got = LIBC.mmap(None, 1 << 21, 3, 0x40022, -1, 0)
    if got == -1:
        raise OSError(ctypes.get_errno(), "mmap")
    return got


def a163_huge_pages_of_another_size():
    got = LIBC.mmap(None, 1 << 30, 3, 0x40022 | 30 << 26, -1, 0)
    if got == -1:
        raise OSError(ctypes.get_errno(), "mmap")
    return got


def a164_setting_of_this_system():
    return first(
        write,
        ["/etc/ld.so.cache", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/etc/mtab"],
    )


def a165_bytecode_of_the_worker():
    folder = Path(sys.modules["torch"].__file__).parent
    return first(write, [str(folder / "__pycache__" / "x.pyc"), "/opt/autoprune/app/x.pyc"])


def a166_descriptors_of_the_other_processes():
    return first(os.listdir, near("fd", "fdinfo"))
