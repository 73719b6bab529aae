"""Things that must be refused, second half: kernel interfaces, other processes, torch.

See ``attempts``: the text of both files is shipped into the container as one.
"""

# Plain os calls are what the attacks are about.
import ctypes
import os
import resource
import socket
import stat
import sys
from pathlib import Path

from attacks.attempts import LIBC, call, first


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
