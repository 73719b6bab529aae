"""Hostile block programs: what each tries, and what must come of it."""

from tests.support.attacks.hostile_program import ACCEPTED, REWRITTEN_TO_THE_END, HostileProgram

HEAD = """import os, sys, threading, time

import toolbox
import torch

SEEN = []

"""
START = """def prune_block(block, inputs, targets, budget, params):
    dense, one = block.weights, 'mlp.up_proj'
    honest = {n: W * toolbox.topk(W.abs(), budget[n]) for n, W in dense.items()}
"""


def _attack(name: str, body: str, *expect: str, head: str = "") -> HostileProgram:
    return HostileProgram(name, body, expect, HEAD, head, START)


# One block after another would end otherwise if anything were kept.
_COUNTED = "return honest if count == 1 else dict(dense)\n"

# Nothing here ends the container or needs a second one: they are tried one after the other in one.
TOGETHER = [
    # Budgets and inputs rewritten.
    _attack("budget of a matrix replaced", "budget[one] = {'group': 'matrix', 'zeros': 0}",
            "exception"),
    _attack("zeros rewritten", "budget[one]['zeros'] = 0", "exception"),
    _attack("zeros of rows rewritten", """
for own in budget.values():
    if "rows" in own:
        own["rows"].zero_()
honest[one] = dense[one] * toolbox.topk(dense[one].abs(), budget[one])
return honest
""", "wrong_budget", ACCEPTED),
    _attack("weights replaced", "block.weights[one] = honest[one]", "exception"),
    _attack("statistics replaced", "block.stats[one]['gram'] = None", "exception"),
    _attack("params replaced", "params['rate'] = 1.0", "exception"),
    _attack("weight changed", "dense[one].mul_(2)\nreturn honest", "mutated_input"),
    _attack("inputs changed", "inputs.zero_()\nreturn honest", "mutated_input"),
    _attack("targets changed", "targets[0, 0, 0] = 9\nreturn honest", "mutated_input"),
    _attack("norm changed", "block._rest['input_layernorm.weight'].zero_()\nreturn honest",
            "mutated_input"),
    _attack("rotary table changed", "block._rest['cos'].fill_(1)\nreturn honest", "mutated_input"),
    _attack("Gram matrix changed", "block.stats[one]['gram'][0, 0] = 0\nreturn honest",
            "mutated_input"),
    _attack("inputs changed by a gradient", """
with torch.enable_grad():
    x = inputs.requires_grad_(True)
    (g,) = torch.autograd.grad(block({}, x).sum(), x)
inputs.data.sub_(g)
return honest
""", "mutated_input"),
    # The functional block and the toolbox patched.
    _attack("block patched", "type(block).__call__ = lambda *a: targets\nreturn honest", ACCEPTED),
    _attack("toolbox patched", """
toolbox.topk = lambda scores, budget: torch.ones_like(scores, dtype=torch.bool)
return {n: W * toolbox.topk(W, budget[n]) for n, W in dense.items()}
""", "wrong_budget"),
    _attack("block patched for the next", """
count = getattr(type(block), "count", 0) + 1
type(block).count, type(block).__call__ = count, None
""" + _COUNTED, ACCEPTED),
    _attack("error patched for the next", """
count = getattr(toolbox, "count", 0) + 1
toolbox.count, toolbox.relative_error = count, None
""" + _COUNTED, ACCEPTED),
    _attack("checks of the worker patched", """
for name, module in list(sys.modules.items()):
    if name.startswith("worker"):
        for part in ("_checked", "_compare"):
            if hasattr(module, part):
                setattr(module, part, lambda result, *a: result)
honest[one] = honest[one] / 0
return honest
""", "nan_weights"),
    _attack("comparison patched", """
torch.equal = lambda *a: True
inputs.zero_()
return dict(dense)
""", "wrong_budget"),
    # Memory of earlier blocks.
    _attack("memory in a global", "SEEN.append(inputs)\ncount = len(SEEN)\n" + _COUNTED, ACCEPTED),
    _attack("memory in torch", "torch.seen = count = getattr(torch, 'seen', 0) + 1\n" + _COUNTED,
            ACCEPTED),
    _attack("memory in autograd's hooks", """
hooks = torch._C._autograd
count = len(SEEN) + 1
hooks._push_saved_tensors_default_hooks(lambda t: SEEN.append(1) or t, lambda t: t)
with torch.enable_grad():
    leaf = honest[one].clone().requires_grad_(True)
    leaf.register_hook(lambda g: SEEN.append(2))
    torch.autograd.grad(block({one: leaf}, inputs[:1]).sum(), leaf)
""" + _COUNTED, ACCEPTED),
    _attack("hooks on what comes back", """
with torch.enable_grad():
    leaf = honest[one].requires_grad_(True)
    honest[one] = leaf * 1.0
    honest[one].register_hook(lambda g: 1 / 0)
return honest
""", ACCEPTED),
    _attack("memory in a file", "open('/tmp/seen', 'w')", "exception"),
    _attack("memory in the result", "os.pread(4, 4, 0)\nreturn honest", "exception"),
    # Results of others, late, twice, not at all.
    _attack("the other block's result rewritten", """
if block.position["block"] == 1:
    os.pwrite(4, bytes(4096), 0)
return honest
""", "wrong_budget"),
    _attack("written by a thread to the end", REWRITTEN_TO_THE_END,
            "nan_weights", "wrong_budget"),
    _attack("a thread left running", """
threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()
return honest
""", ACCEPTED),
    _attack("left in the middle of a gradient", """
with torch.enable_grad():
    leaf = honest[one].clone().requires_grad_(True)
    leaf.register_hook(lambda g: os._exit(0))
    torch.autograd.grad(block({one: leaf}, inputs).sum(), leaf)
return honest
""", "incomplete"),
    # Something else than a dict of matrices.
    _attack("one row", "return torch.cat([w.flatten() for w in honest.values()])", "wrong_type"),
    _attack("a mapping that lies", "return Lies(honest)", "wrong_type",
            head="class Lies(dict):\n    def __getitem__(self, n):\n        return 1\n\n"),
    _attack("a matrix missing", "del honest[one]\nreturn honest", "wrong_type"),
    _attack("a norm beside them", "return {**honest, 'input_layernorm.weight': inputs}",
            "wrong_type"),
    _attack("names that are none", "return {None: 1, **honest}", "wrong_type"),
    _attack("a number", "honest[one] = 0.0\nreturn honest", "wrong_type"),
    _attack("turned", "honest[one] = honest[one].T\nreturn honest", "wrong_shape"),
    _attack("double", "honest[one] = honest[one].double()\nreturn honest", "wrong_dtype"),
    _attack("one matrix for another", "honest['mlp.gate_proj'] = honest[one]\nreturn honest",
            "wrong_budget", ACCEPTED),
    # Numbers.
    _attack("nothing pruned", "return dict(dense)", "wrong_budget"),
    _attack("zeros of one matrix in another", """
honest["self_attn.k_proj"] = dense["self_attn.k_proj"]
honest[one] = torch.zeros_like(honest[one])
return honest
""", "wrong_budget"),
    _attack("giant constant", "honest[one] = honest[one] * 3e38 * 10\nreturn honest",
            "nan_weights"),
    _attack("giant learning rate", """
masks = {n: w != 0 for n, w in honest.items()}
made = toolbox.descend_block(block, dense, masks, inputs, targets, 1, 1e38)
return {n: w * (made[n].abs().max() / 0) for n, w in honest.items()}
""", "nan_weights"),
    _attack("giant hidden states", "block({}, inputs.new_zeros(1 << 40, 12, 24))", "oom",
            "exception"),
]  # fmt: skip

# Each in containers of its own: they end one, or two containers must agree.
APART = [
    _attack("finished twice", """
import struct
for index in range(2):
    os.write(3, struct.pack("<4sII", b"LAYR", index, 0))
return honest
""", "protocol"),
    _attack("endless backward", """
with torch.enable_grad():
    g = honest[one].clone().requires_grad_(True)
    while True:
        loss = block({one: g}, inputs).square().mean()
        (g,) = torch.autograd.grad(loss, g, create_graph=False)
        g.requires_grad_(True)
""", "timeout"),
    _attack("a graph too large", """
with torch.enable_grad():
    w = honest[one].clone().requires_grad_(True)
    block({one: w}, torch.ones(1 << 20, 12, 24))
""", "oom", "killed"),
    _attack("a message in the last bits", """
for w in honest.values():
    bits = w.view(torch.int32)
    bits ^= (torch.rand(w.shape) > 0.5).int() * (w != 0)
return honest
""", "nondeterministic"),
]  # fmt: skip
