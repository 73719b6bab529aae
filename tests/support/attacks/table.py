"""Hostile candidates, with the codes that must come back."""

from dataclasses import dataclass

# The kernel's word for what the allow-lists refuse.
DENIED = "exception:PermissionError"
HEAD = "import os, sys, time, torch\n"
HONEST = "def score(W, stats, params):\n    return W.abs()\n"


@dataclass(frozen=True)
class Attack:
    """One hostile candidate.

    Args:
        name: Number and title.
        expect: Codes that may come back, with the exception that must be the cause where one is
            named; ``accepted`` means the scores must equal ``|W|``. One that usually ends by the
            limit of time names ``timeout`` first, and gets a short one.
        source: The candidate; without a ``score``, one is added that calls ``attack`` first.
        syscall_filter: Whether the inner filter is on.
    """

    name: str
    expect: tuple[str, ...]
    source: str
    syscall_filter: bool = True

    @property
    def candidate(self) -> str:
        """Source as it is handed over."""
        if "def score" in self.source:
            return HEAD + self.source
        body = "def score(W, stats, params):\n    attack(W, stats)\n    return W.abs()\n"
        return HEAD + self.source + body


def returns(name: str, code: str, expression: str) -> Attack:
    """A candidate that returns something else than scores."""
    source = f"def score(W, stats, params):\n    return {expression}\n"
    return Attack(name, (code,), source)


def does(name: str, expect: str, *lines: str, syscall_filter: bool = True) -> Attack:
    """A candidate whose ``attack`` runs these lines before honest scores are returned."""
    body = "".join(f"    {line}\n" for line in lines)
    return Attack(name, tuple(expect.split("|")), f"def attack(W, stats):\n{body}", syscall_filter)


EXHAUST = [
    does("101_fork_bomb", DENIED, "while True: os.fork()"),
    does(
        "102_fork_bomb_unfiltered",
        "timeout|exception|killed|leftover_processes|oom|incomplete",
        "while True:",
        "    try: os.fork()",
        "    except OSError: pass",
        syscall_filter=False,
    ),
    does(
        "103_thread_bomb",
        "exception|crashed",
        "import threading",
        "for _ in range(10_000): threading.Thread(target=time.sleep, args=(60,)).start()",
    ),
    does("104_memory_bomb", "oom", "kept = []", "while True: kept.append(torch.ones(1 << 24))"),
    does("105_huge_tensor", "oom", "torch.empty(1 << 44)"),
    does("106_huge_bytes", "oom|exception", "bytes(1 << 46)"),
    does("107_spin", "timeout", "while True: pass"),
    does("108_spin_in_c", "timeout", "x = torch.ones(3000, 3000)", "while True: x = x @ x * 0"),
    does("109_backtracking", "timeout", "import re", "re.match('(a+)+$', 'a' * 60 + 'b')"),
    does("110_sleep", "timeout", "time.sleep(1000)"),
    does(
        "111_ignore_signals",
        "timeout",
        "import signal",
        "for n in (1, 2, 3, 14, 15, 24): signal.signal(n, signal.SIG_IGN)",
        "while True: pass",
    ),
    does("112_deep_recursion", "exception", "def f(): return f()", "f()"),
    does(
        "113_deep_recursion_unlimited",
        "crashed|exception|oom|timeout",
        "sys.setrecursionlimit(10**9)",
        "f = lambda n: [f(n + 1)]",
        "f(0)",
    ),
    does("114_open_files", "exception", "kept = [os.open('/dev/null', 0) for _ in range(10_000)]"),
    does("115_flood_stdout", "output_flood", "while True: print('x' * 1000)"),
    does("116_flood_stderr", "output_flood", "while True: os.write(2, b'y' * 4096)"),
    does("117_one_endless_line", "output_flood", "while True: os.write(1, b'z' * 65536)"),
    does("118_huge_message", "exception", "raise ValueError('m' * (1 << 26))"),
    does(
        "119_message_that_hangs",
        "timeout",
        "class Slow(Exception):",
        "    def __str__(self):",
        "        while True: pass",
        "raise Slow()",
    ),
    does(
        "120_work_after_the_end",
        "accepted",
        "import atexit, threading",
        "def spin():",
        "    while True: time.sleep(0.01)",
        "atexit.register(spin)",
        "threading.Thread(target=spin).start()",
    ),
    does(
        "121_daemon_left_behind",
        "leftover_processes",
        "if os.fork() == 0:",
        "    os.setsid()",
        "    if os.fork() == 0: time.sleep(1000)",
        "    os._exit(0)",
        syscall_filter=False,
    ),
    does(
        "122_memory_in_a_grandchild",
        "oom",
        "if os.fork() == 0:",
        "    kept = []",
        "    while True: kept.append(torch.ones(1 << 24))",
        "os.wait()",
        syscall_filter=False,
    ),
    does(
        "123_memory_file",
        "oom|exception",
        "fd = os.memfd_create('x')",
        "while True: os.write(fd, bytes(1 << 24))",
    ),
]

LIE = [
    does("131_leave_early", "incomplete", "os._exit(0)"),
    does("132_exit", "exception", "sys.exit(0)"),
    does(
        "133_kill_itself",
        DENIED,
        "os.kill(os.getpid(), 9)",
        syscall_filter=False,
    ),
    does("134_kill_everything", DENIED, "os.kill(-1, 9)", syscall_filter=False),
    does(
        "135_kill_the_zygote",
        DENIED,
        "os.kill(os.getppid(), 9)",
        syscall_filter=False,
    ),
    does(
        "136_stop_the_zygote",
        DENIED,
        "os.kill(os.getppid(), 19)",
        syscall_filter=False,
    ),
    does("137_segfault", "crashed", "import ctypes", "ctypes.string_at(0)"),
    does("138_abort", "crashed", "os.abort()"),
    does(
        "139_forged_frame_printed",
        "accepted",
        "import json, struct",
        'h = json.dumps({"kind": "done", "job": "0", "nonce": "0", "code": "ok"}).encode()',
        "frame = struct.pack('<4sIQ', b'APS1', len(h), 0) + h",
        'os.write(1, frame); os.write(2, frame); print(\'{"code": "ok"}\')',
    ),
    does(
        "140_frames_everywhere",
        "protocol",
        "for fd in range(3, 64):",
        "    try: os.write(fd, b'APS1' + bytes(64))",
        "    except OSError: pass",
    ),
    does(
        "141_forged_layer_records",
        "protocol",
        "import struct",
        "for i in range(7): os.write(3, struct.pack('<4sII', b'LAYR', i, 0))",
        "os._exit(0)",
    ),
    does(
        "142_layers_out_of_turn",
        "protocol",
        "import struct",
        "os.write(3, struct.pack('<4sII', b'LAYR', 2, 0))",
        "os._exit(0)",
    ),
    does(
        "143_unknown_code",
        "protocol",
        "import struct",
        "os.write(3, struct.pack('<4sII', b'FAIL', 0, 3) + b'ok\\n'); os._exit(1)",
    ),
    does("144_result_cut", DENIED, "os.ftruncate(4, 0)"),
    does("145_pipe_closed", "incomplete|exception|crashed", "os.close(3)"),
    does("146_result_closed", "exception", "os.close(4)"),
    does(
        "147_checks_replaced",
        "accepted",
        "import builtins",
        "torch.equal = torch.isfinite = torch.allclose = lambda *a, **k: True",
        "builtins.isinstance = lambda *a: True",
    ),
    does(
        "148_aten_replaced",
        "accepted",
        "library = torch.library.Library('aten', 'IMPL')",
        "library.impl('isfinite', lambda x: torch.ones_like(x, dtype=torch.bool), 'CPU')",
        "globals()['library'] = library",
    ),
    Attack(
        "149_nan_behind_replaced_checks",
        ("nan_scores",),
        "torch.isfinite = lambda x: torch.ones_like(x, dtype=torch.bool)\n"
        "def score(W, stats, params):\n    return W / 0 * 0\n",
    ),
    does(
        "150_worker_replaced",
        "accepted|exception",
        "child = sys.modules['worker.child']",
        "child._compare = lambda *a: None",
    ),
    does(
        "151_terminal_escapes", "exception", "raise ValueError('\\x1b[2J\\u202e\\ud800<b>\\n\\0')"
    ),
    does("152_default_dtype", "accepted|wrong_dtype", "torch.set_default_dtype(torch.float64)"),
    does("153_many_threads", "accepted", "torch.set_num_threads(8)", "torch.ones(512, 512).sum()"),
    does(
        "154_own_pickle",
        "accepted|exception",
        "import io, pickle",
        "class P:",
        "    def __reduce__(self): return (os.getpid, ())",
        "torch.load(io.BytesIO(pickle.dumps(P())), weights_only=False)",
    ),
    does("155_hub", "exception", "torch.hub.load('pytorch/vision', 'resnet18')"),
    does(
        "156_compile",
        # The compiler's front end wants sympy, which the container does not hold.
        "accepted|exception:ModuleNotFoundError|timeout",
        "torch.compile(lambda x: x + 1, backend='inductor')(W)",
    ),
]

RETURN = [
    returns("161_none", "wrong_type", "None"),
    returns("162_list", "wrong_type", "W.tolist()"),
    returns("163_numpy", "wrong_type", "W.numpy()"),
    returns("164_parameter", "wrong_type", "torch.nn.Parameter(W)"),
    returns("165_sparse", "wrong_type", "W.to_sparse()"),
    returns("166_meta", "wrong_type", "W.to('meta')"),
    returns("167_complex", "wrong_dtype", "W.to(torch.complex64)"),
    returns("168_double", "wrong_dtype", "W.double()"),
    returns("169_integer", "wrong_dtype", "W.to(torch.int32)"),
    returns("170_transposed", "wrong_shape", "W.t()"),
    returns("171_one_row", "wrong_shape", "W.abs().sum(0)"),
    returns("172_scalar", "wrong_shape", "W.sum()"),
    returns("173_enormous_view", "wrong_shape", "W[0, 0].expand(1 << 20, 1 << 20)"),
    returns("174_constant", "constant_scores", "torch.ones_like(W)"),
    returns("175_stride_zero", "constant_scores", "W[0, 0].expand(W.shape)"),
    returns("176_two_values", "constant_scores", "(W > 0).float()"),
    returns("177_nan", "nan_scores", "W.log()"),
    returns("178_infinite", "nan_scores", "W.abs() / 0"),
    returns("179_one_nan", "nan_scores", "W.abs().index_put((torch.tensor(3), torch.tensor(3)), "
            "torch.tensor(float('nan')))"),
    Attack(
        "180_subclass_that_lies",
        ("wrong_type",),
        "class Lie(torch.Tensor):\n"
        "    @classmethod\n"
        "    def __torch_function__(cls, f, types, args=(), kwargs=None): return True\n"
        "def score(W, stats, params):\n    return W.abs().as_subclass(Lie)\n",
    ),
    Attack(
        "181_object_that_lies",
        ("wrong_type",),
        "class Lie:\n"
        "    shape = (48, 64)\n"
        "    dtype = torch.float32\n"
        "    def __eq__(self, other): return True\n"
        "    def __array__(self): raise SystemExit\n"
        "def score(W, stats, params):\n    return Lie()\n",
    ),
    Attack("182_no_score", ("no_score",), "x = 1\n# def score\n"),
    Attack("183_score_is_a_number", ("no_score",), "score = 3\n# def score\n"),
    Attack("184_not_python", ("syntax",), "def score(W, stats params):\n    return W\n"),
    Attack("185_wrong_signature", ("exception:TypeError",), "def score(W):\n    return W.abs()\n"),
    Attack("186_unknown_statistic", ("exception:UnknownName",),
           "def score(W, stats, params):\n    return W * stats['eval_text']\n"),
]  # fmt: skip

CHEAT = [
    returns("191_random", "nondeterministic", "torch.rand_like(W)"),
    returns("192_clock", "nondeterministic", "W.abs() + time.time() % 1"),
    returns("193_address_in_memory", "nondeterministic", "W.abs() + id(W) % 9973"),
    returns("194_random_device", "nondeterministic",
            "W.abs() + int.from_bytes(os.urandom(4)) / 2**32"),
    Attack(
        "195_call_counter",
        ("depends_on_batch",),
        "calls = []\ndef score(W, stats, params):\n    calls.append(1)\n"
        "    return W.abs() * len(calls)\n",
    ),
    Attack(
        "196_first_layer_remembered",
        ("depends_on_batch",),
        "seen = {}\ndef score(W, stats, params):\n    first = seen.setdefault('W', W)\n"
        "    return W.abs() + first.abs().mean()\n",
    ),
    does("197_weight_changed", "mutated_input", "W.mul_(2)"),
    does("198_statistic_changed", "mutated_input", "stats['x_norm'].zero_()"),
    does("199_statistic_resized", "mutated_input|exception", "stats['x_norm'].resize_(3)"),
    does("200_inputs_emptied", "accepted", "stats.clear()"),
    Attack(
        "201_earlier_run_overwritten",
        ("nondeterministic",),
        "import resource\n"
        "def score(W, stats, params):\n"
        "    end = resource.getrlimit(resource.RLIMIT_FSIZE)[0]\n"
        "    for start in (end, 2 * end, 1 << 20):\n"
        "        try: os.pwrite(4, bytes(1 << 12), start)\n"
        "        except OSError: pass\n"
        "    return torch.rand_like(W)\n",
    ),
    Attack(
        "202_position_hidden_in_strides",
        ("not_equivariant",),
        "def score(W, stats, params):\n"
        "    return torch.as_strided(W.abs(), W.shape, (1, 1)).contiguous() + W.abs()\n",
    ),
    returns("203_memorised_by_shape", "not_equivariant",
            "torch.linspace(0, 1, W.numel()).reshape(W.shape)"),
]  # fmt: skip

FRESH = [
    does("211_memory_nowhere", "crashed|exception",
         "import ctypes",
         "x = torch.frombuffer((ctypes.c_char * 4096).from_address(16), dtype=torch.float32)",
         "os.write(1, str(float(x.sum())).encode())"),
    returns("212_storage_nowhere", "exception",
            "torch.frombuffer((__import__('ctypes').c_char * (4 * W.numel())).from_address(4096),"
            " dtype=torch.float32).reshape(W.shape)"),
    returns("213_negative_view", "exception", "torch._neg_view(W.abs())"),
    returns("214_nested", "wrong_type", "torch.nested.nested_tensor([W[0], W[1][:5]])"),
    returns("215_quantised", "wrong_type",
            "torch.quantize_per_tensor(W, 0.1, 0, torch.qint8)"),
    returns("216_half", "wrong_dtype", "W.abs().half()"),
    does("217_append_to_the_result", "accepted|killed|exception|incomplete",
         "import fcntl", "fcntl.fcntl(4, fcntl.F_SETFL, os.O_APPEND)"),
    does("218_holes_in_the_result", "accepted",
         "import ctypes", "libc, long = ctypes.CDLL(None), ctypes.c_long",
         "libc.fallocate(4, 3, long(0), long(8192))"),
    does("219_descriptors_exchanged", "incomplete|protocol|exception|crashed", "os.dup2(4, 3)"),
    does("220_leave_in_the_middle_of_a_record", "incomplete|protocol",
         "os.write(3, b'LAYR\\0')", "os._exit(0)"),
    does("221_record_in_drips", "protocol",
         "for byte in b'LAYR' + bytes([9]) + bytes(7):",
         "    os.write(3, bytes([byte])); time.sleep(0.01)",
         "os._exit(0)"),
    does("222_endless_drip", "timeout", "while True: os.write(1, b'.'); time.sleep(0.05)"),
    does("223_pending_signals", "accepted|exception|oom",
         "import ctypes", "libc, timer = ctypes.CDLL(None), ctypes.c_void_p()",
         "for _ in range(200_000):",
         "    if libc.timer_create(1, None, ctypes.byref(timer)): break"),
    # Once in a process, which scores seven layers.
    does("224_random_device_drained", "accepted",
         "for _ in range(0 if hasattr(torch, 'drained') else 200): os.urandom(1 << 20)",
         "torch.drained = True"),
    does("225_time_stopped", "accepted",
         "time.time = time.monotonic = time.perf_counter = lambda: 0.0",
         "import signal", "signal.signal(signal.SIGXCPU, signal.SIG_IGN)"),
    does("226_native_code_loaded", "accepted|exception|crashed",
         "import ctypes", "fd = ctypes.CDLL(None).memfd_create(b'x', 0)",
         "os.write(fd, b'\\x7fELF' + bytes(4096))",
         "torch.ops.load_library(f'/proc/self/fd/{fd}')"),
    does("227_memory_locked", "accepted|exception|oom",
         "import ctypes", "ctypes.CDLL(None).mlockall(3)"),
    # The worker asks for the second layer of a job that was cut to one.
    does("228_collector_and_frames", "accepted|exception:IndexError|protocol",
         "import gc",
         "for thing in gc.get_objects():",
         "    if type(thing).__name__ == 'Job':",
         "        object.__setattr__(thing, 'layers', thing.layers[:1])"),
    does("229_leaves_by_the_child_s_own_door", "incomplete",
         "sys.modules['worker.child']._flush(); os._exit(0)"),
    does("230_seccomp_once_more", "accepted|killed|crashed|incomplete",
         "import ctypes", "ctypes.CDLL(None).prctl(22, 1, 0, 0, 0)"),
]  # fmt: skip

ATTACKS = [*EXHAUST, *LIE, *RETURN, *CHEAT, *FRESH]
