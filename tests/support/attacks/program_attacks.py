"""Hostile layer programs: what each tries, and what must come of it."""

from tests.support.attacks.hostile_program import ACCEPTED, REWRITTEN_TO_THE_END, HostileProgram

HEAD = "import ctypes, os, sys, threading, time\n\nimport toolbox\nimport torch\n\n"
START = """def prune_layer(W, stats, budget, params):
    honest = W * toolbox.topk(W.abs(), budget)
"""


def _attack(name: str, body: str, *expect: str, head: str = "") -> HostileProgram:
    return HostileProgram(name, body, expect, HEAD, head, START)


# One layer after another would end otherwise if anything were kept.
_COUNTED = "return honest if count == 1 else W\n"
_SEEN = "SEEN = []\n\n"

# What these do ends with their own process: they are tried one after the other in one container.
TOGETHER = [
    # Fewer zeros than asked, or none.
    _attack("the input itself", "return W", "wrong_budget"),
    _attack("everything pruned", "return torch.zeros_like(W)", "wrong_budget"),
    _attack("one row for all", "return honest[:1].expand(W.shape)", "wrong_budget"),
    _attack("denormals for zeros",
            "return torch.where(honest == 0, 1e-42, honest)",
            "wrong_budget"),
    _attack("a percent too few", """
flat = honest.flatten().clone()
flat[(flat == 0).nonzero()[:31]] = 0.5
return flat.view(W.shape)
""", "wrong_budget"),
    _attack("budget rewritten", """
budget["zeros"] = 0
if "rows" in budget:
    budget["rows"].zero_()
budget["n"], budget["group"] = 0, "matrix"
return W * toolbox.topk(W.abs(), budget)
""", "wrong_budget"),
    _attack("budget by another name",
            'return W * toolbox.topk(W.abs(), budget["all"])',
            "exception"),
    _attack("toolbox patched", """
toolbox.topk = lambda scores, budget: torch.ones_like(scores, dtype=torch.bool)
return W * toolbox.topk(W.abs(), budget)
""", "wrong_budget"),
    _attack("toolbox patched for the next", """
count = getattr(toolbox, "count", 0) + 1
toolbox.count, toolbox.topk = count, None
""" + _COUNTED, ACCEPTED),
    # Memory between calls.
    _attack("memory in a global",
            "SEEN.append(1)\ncount = len(SEEN)\n" + _COUNTED,
            ACCEPTED, head=_SEEN),
    _attack("memory in torch",
            "torch.seen = count = getattr(torch, 'seen', 0) + 1\n" + _COUNTED,
            ACCEPTED),
    _attack("memory in the modules", """
count = sys.modules.setdefault("seen", [0])
count[0] += 1
count = count[0]
""" + _COUNTED, ACCEPTED),
    _attack("memory in the environment", """
count = int(os.environ.get("SEEN", "0")) + 1
os.environ["SEEN"] = str(count)
""" + _COUNTED, ACCEPTED),
    _attack("memory in a default", "count = remember()\n" + _COUNTED, ACCEPTED,
            head="def remember(seen=[]):\n    seen.append(1)\n    return len(seen)\n\n"),
    _attack("memory in a file", "open('/tmp/seen', 'w')", "exception"),
    _attack("memory in the result", "os.pread(4, 4, 0)\nreturn honest", "exception"),
    _attack("memory in an input", "open('/in/' + os.listdir('/in')[0], 'r+')", "exception"),
    # Results of others, late, twice, not at all.
    _attack("left running", "os.fork()\nreturn honest", "exception"),
    _attack("result closed", "os.close(4)\nreturn honest", "exception"),
    _attack("result cut", "os.ftruncate(4, 0)\nreturn honest", "exception"),
    # Time and size.
    _attack("giant number", "return honest * float(10 ** 400)", "exception"),
    _attack("giant constant", "return honest * 3e38 * 10", "nan_weights"),
    _attack("giant tensor", "return torch.zeros(1 << 40)", "oom", "exception"),
    # Numbers and tensors of another kind.
    _attack("NaN", "return honest * float('nan')", "nan_weights"),
    _attack("one infinity", "honest[3, 3] = float('-inf')\nreturn honest", "nan_weights"),
    _attack("NaN behind patched checks", """
torch.isfinite = torch.isnan = lambda x: torch.ones_like(x, dtype=torch.bool)
torch.equal = lambda a, b: True
return honest / 0
""", "nan_weights"),
    _attack("double", "return honest.double()", "wrong_dtype"),
    _attack("half", "return honest.half()", "wrong_dtype"),
    _attack("complex", "return honest.to(torch.complex64)", "wrong_dtype"),
    _attack("a mask", "return honest != 0", "wrong_dtype"),
    _attack("transposed", "return honest.T", "wrong_shape"),
    _attack("the Gram matrix", "return stats['gram'].repeat(2, 2)", "wrong_shape"),
    _attack("strides turned", "return honest.T.contiguous().T", ACCEPTED),
    _attack("a parameter", "return torch.nn.Parameter(honest)", "wrong_type"),
    _attack("sparse", "return honest.to_sparse()", "wrong_type"),
    _attack("nowhere", "return honest.to('meta')", "wrong_type"),
    _attack("a list", "return honest.tolist()", "wrong_type"),
    _attack("nothing", "return None", "wrong_type"),
    _attack("a subclass that lies", "return honest.as_subclass(Lies)", "wrong_type",
            head="class Lies(torch.Tensor):\n    shape = property(lambda self: (1, 1))\n\n"),
    _attack("with a graph and hooks", """
with torch.enable_grad():
    leaf = honest.requires_grad_(True)
    made = leaf * 1.0
    made.register_hook(lambda g: 1 / 0)
return made
""", ACCEPTED),
    # Inputs changed.
    _attack("weight changed", "W.mul_(2)\nreturn honest", "mutated_input"),
    _attack("weight emptied", "W.resize_(1)\nreturn honest", "mutated_input"),
    _attack("Gram matrix changed", "stats['gram'][0, 0] = 0\nreturn honest", "mutated_input"),
    _attack("weight changed through a view",
            "W.T.flatten(0)\nW.view(-1)[0] = 9\nreturn honest",
            "mutated_input"),
    # Chance.
    _attack("by chance", "return honest * (1 + torch.rand(1))", "nondeterministic"),
    _attack("by the clock", "return honest * (1 + time.time_ns() % 997)", "nondeterministic"),
    _attack("last bits hold a message", """
bits = honest.view(torch.int32)
bits ^= (torch.rand(W.shape) > 0.5).int() * (honest != 0)
return honest
""", "nondeterministic"),
    # Out of the process.
    _attack("a shell", "import subprocess\nsubprocess.run(['sh'])", "exception"),
    _attack("the zygote killed", "os.kill(os.getppid(), 9)\nreturn honest", "exception"),
]  # fmt: skip

# Each in containers of its own: they end or fill one, leave something in it or in its result, take
# their time, or two containers must agree; and one of each kind that could be above.
APART = [
    _attack("nothing pruned", "return W.clone()", "wrong_budget"),
    _attack("every result rewritten", """
os.pwrite(4, bytes(4096), 0)
return honest
""", "depends_on_batch", "nondeterministic", "wrong_budget"),
    _attack("written by a thread to the end", REWRITTEN_TO_THE_END,
            "nan_weights", "depends_on_batch", "nondeterministic", "wrong_budget"),
    _attack("left before the end", "os._exit(0)", "incomplete"),
    _attack("finished by a forged record", """
import struct
os.write(3, struct.pack("<4sII", b"LAYR", int(len(W) == 64), 0))
os._exit(0)
""", "protocol", "wrong_budget"),
    _attack("finished twice", """
import struct
for index in range(5):
    os.write(3, struct.pack("<4sII", b"LAYR", index, 0))
return honest
""", "protocol"),
    _attack("never done", "while True:\n    pass", "timeout"),
    _attack("asleep", "time.sleep(3600)", "timeout"),
    _attack("slow where it is loud",
            "time.sleep(3600 * float(stats['x_max'].max() > 100))\nreturn honest",
            "timeout"),
    _attack("giant whole number",
            "x = 7 ** (10 ** 9)\nreturn honest",
            "timeout", "oom", "exception"),
    _attack("memory eaten",
            "kept = []\nwhile True:\n    kept.append(torch.ones(1 << 24))",
            "oom", "killed"),
    _attack("flood", "while True:\n    print('x' * 65536)", "output_flood"),
    _attack("by an address",
            "return honest * (1 + id(honest) % 4093)",
            "nondeterministic", ACCEPTED),
    _attack("a crash", "ctypes.string_at(0)", "crashed"),
    _attack("the worker patched", """
for name in list(sys.modules):
    if name.startswith("worker"):
        for part in list(vars(sys.modules[name])):
            if part.startswith("_c") or part == "RefusedError":
                setattr(sys.modules[name], part, None)
return W
""", "wrong_budget", "exception", "incomplete"),
]  # fmt: skip
