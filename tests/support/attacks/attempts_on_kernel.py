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

from tests.support.attacks.attempts import call, first


def a060_user_namespace():
    return call("unshare", 0x10000000)


def a061_mount_namespace():
    return call("unshare", 0x00020000)


def a062_mount():
    return call("mount", 0, 0, 0, 0, 0)


def a063_pivot_and_chroot():
    os.chroot("/proc")
    return "chroot"


def a064_join_namespace():
    fd = os.open("/proc/1/ns/net", os.O_RDONLY)
    return call("setns", fd, 0)


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
    return call("keyctl", 0, -3, 0)


def a071_bpf():
    return call("bpf", 0, 0, 0)


def a072_performance_events():
    return call("perf_event_open", 0, 0, -1, -1, 0)


def a073_io_uring():
    buffer = ctypes.create_string_buffer(256)
    return call("io_uring_setup", 4, ctypes.addressof(buffer))


def a074_userfaultfd():
    return call("userfaultfd", 0)


def a075_modules_and_kexec():
    return first(
        lambda name: call(name, -1, 0, 0, 0), ["init_module", "finit_module", "kexec_load"]
    )


def a076_clock_and_name():
    return first(lambda name: call(name, 0, 0), ["clock_settime", "settimeofday", "sethostname"])


def a077_ports():
    return first(lambda name: call(name, 3, 1, 1), ["iopl", "ioperm"])


def a078_reboot_swap_accounting():
    return first(lambda name: call(name, 0, 0, 0, 0), ["reboot", "swapon", "acct"])


def a079_open_by_handle():
    buffer = ctypes.create_string_buffer(64)
    return call("open_by_handle_at", 3, ctypes.addressof(buffer), 0)


def a080_copy_descriptor_of_the_zygote():
    return call("pidfd_getfd", 4, 3, 0)


def a081_realtime_priority():
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
    return "fifo"


def a082_negative_nice():
    return os.nice(-10) < 0


def a083_kill_broker():
    return first(lambda signal: os.kill(1, signal) or "signalled", [9, 19, 2, 0])


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
    return call("shmget", 0, 4096, 0o1600)


def f098_torch_processes():
    import torch.multiprocessing

    process = torch.multiprocessing.Process(target=print)
    process.start()
    process.join()
    return process.pid


def f099_torch_store():
    from torch.distributed import TCPStore

    return TCPStore("127.0.0.1", 29511, 1, True)
