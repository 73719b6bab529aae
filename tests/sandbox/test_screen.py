"""The static screen: cheap refusals that say what to write instead."""

import gc
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.codes import MEANINGS, Code
from sandbox.screen import MAX_BYTES, SCORE, screen, screen_params


def score(body: str, head: str = "import torch\n") -> str:
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    return f"{head}def score(W, stats, params):\n{lines}"


GOOD = [
    score("return W.abs() * stats['x_norm']"),
    score("a = params.get('alpha', 0.5)\nreturn W.abs() ** a"),
    score(
        "m = W.abs()\nr = m / (m.sum(1, keepdim=True) + 1e-8)\nreturn (r + m).float()",
        '"""RIA."""\nimport torch\nimport torch.nn.functional as F\nimport math\nEPS = 1e-8\n',
    ),
    score("return F.softmax(W.abs(), dim=1)", "from torch.nn import functional as F\n"),
    score("return torch.linalg.norm(W, dim=0) * torch.nn.functional.relu(W)"),
    score("return sqrt(2) * clip(W, 0, 1)", "from math import sqrt\nfrom torch import clip\n"),
    score("f = lambda x: x * 2\nreturn sum([f(W.abs()) for _ in range(3)])"),
    "import torch\n\ndef rank(x):\n    return x.argsort(1).argsort(1).float()\n\n"
    "def score(W, stats, params):\n    if 'grad_norm' in stats:\n        return rank(W)\n"
    "    for i in range(3):\n        W = W * 1.0\n    return rank(W.abs())\n",
    score("W_ = W.clone()\nW_[0] += 1\nassert W.ndim == 2\nreturn W_"),
    score("with torch.no_grad():\n    return W.abs()"),
]

BAD = [
    ("", Code.NO_SCORE, "define exactly one"),
    ("def score(W, stats params): pass", Code.SYNTAX, "line 1"),
    ("def score(W, stats):\n    return W", Code.NO_SCORE, "must be (W, stats, params)"),
    ("def score(W, stats, params, *rest):\n    return W", Code.NO_SCORE, "parameters"),
    (score("return W") + score("return W"), Code.NO_SCORE, "2 functions"),
    (score("return W", "import os\n"), Code.SCREEN_IMPORT, "line 1: import of 'os'"),
    (score("import subprocess\nreturn W"), Code.SCREEN_IMPORT, "line 3"),
    (score("return W", "import numpy as np\n"), Code.SCREEN_IMPORT, "numpy"),
    (score("return W", "from torch import *\n"), Code.SCREEN_IMPORT, "*"),
    (score("return W", "from torch import os\n"), Code.SCREEN_IMPORT, "torch.os"),
    (score("return W", "from . import x\n"), Code.SCREEN_IMPORT, "import"),
    (score("return torch.os.listdir('/')"), Code.SCREEN_ATTRIBUTE, "torch.os is not allowed"),
    (score("return torch.load('/x')"), Code.SCREEN_ATTRIBUTE, "torch.load"),
    (score("return torch.from_file('/x')"), Code.SCREEN_ATTRIBUTE, "torch.from_file"),
    (score("return torch.hub.load('x')"), Code.SCREEN_ATTRIBUTE, "torch.hub"),
    (score("return t.ops.load_library('x')", "import torch as t\n"), Code.SCREEN_ATTRIBUTE, "ops"),
    (score("return torch.nn.Linear(2, 2)"), Code.SCREEN_ATTRIBUTE, "torch.nn.Linear"),
    (score("return torch._C"), Code.SCREEN_ATTRIBUTE, "_C"),
    (score("return ().__class__.__base__"), Code.SCREEN_ATTRIBUTE, "__base__"),
    (score("return '{0.__class__}'.format(W)"), Code.SCREEN_ATTRIBUTE, "format"),
    (score("return W.numpy().tofile('/x')"), Code.SCREEN_ATTRIBUTE, "tofile"),
    (score("return (x for x in W).gi_frame"), Code.SCREEN_ATTRIBUTE, "gi_frame"),
    (score("return W.ﬁeld.__ⅽlass__"), Code.SCREEN_ATTRIBUTE, "__class__"),
    (score("return open('/x')"), Code.SCREEN_NAME, "'open'"),
    (score("return getattr(torch, 'o' + 's')"), Code.SCREEN_NAME, "getattr"),
    (score("t = torch\nreturn t.os.listdir('/')"), Code.SCREEN_NAME, "line 3: torch as a value"),
    (score("return [torch][0].os.listdir('/')"), Code.SCREEN_NAME, "torch as a value"),
    (score("n = torch.nn\nreturn n.modules"), Code.SCREEN_NAME, "torch.nn as a value"),
    (score("f = F\nreturn W", "import torch.nn.functional as F\n"), Code.SCREEN_NAME, "as a value"),
    (score("return eval('1')"), Code.SCREEN_NAME, "eval"),
    (score("return __import__('os')"), Code.SCREEN_NAME, "__import__"),
    (score("return globals()"), Code.SCREEN_NAME, "globals"),
    (score("return undefined_name * W"), Code.SCREEN_NAME, "line 3: 'undefined_name'"),
    (score("class A: pass\nreturn W"), Code.SCREEN_STATEMENT, "class"),
    (score("global x\nreturn W"), Code.SCREEN_STATEMENT, "global"),
    (score("try:\n    return W\nexcept ValueError:\n    pass"), Code.SCREEN_STATEMENT, "try"),
    ("@print\n" + score("return W", ""), Code.SCREEN_STATEMENT, "decorator"),
    ("print(1)\n" + score("return W", ""), Code.SCREEN_STATEMENT, "top level"),
    ("async " + score("return W", ""), Code.SCREEN_STATEMENT, "async"),
    ("x = 1\n" * 10_000, Code.SCREEN_SIZE, str(MAX_BYTES)),
    (score("return " + "+".join(["W"] * 500)), Code.SCREEN_SIZE, "levels"),
    (score("return " + "(" * 3000 + "W" + ")" * 3000), Code.SYNTAX, "too many nested"),
    (score("return " + "-" * 9000 + "W"), Code.SYNTAX, ""),
    ("x = '\0'", Code.SYNTAX, "null bytes"),
    ("# coding: rot13\nqrs fpber", Code.SYNTAX, ""),
    ("def score(W, stats, params):\n    return '\ud800'", Code.SYNTAX, ""),
]


@pytest.mark.parametrize("source", GOOD)
def test_honest_code_passes(source: str) -> None:
    assert screen(source) is None
    compile(source, "candidate.py", "exec")


@pytest.mark.parametrize(("source", "code", "says"), BAD)
def test_refusals_say_where_and_what(source: str, code: Code, says: str) -> None:
    refused = screen(source)
    assert refused is not None
    assert refused.code is code, refused
    assert says in refused.detail
    assert len(refused.detail) <= 400
    assert "\n" not in refused.detail


@settings(max_examples=300)
@given(st.text(max_size=200))
def test_any_text_is_judged(text: str) -> None:
    refused = screen(text)
    assert refused is None or refused.code in MEANINGS


def test_every_code_has_a_meaning() -> None:
    assert set(MEANINGS) == set(Code)
    assert all(meaning and "\n" not in meaning for meaning in MEANINGS.values())


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), -float("inf"), 10**400, 10**5000, "many", None, [1.0]],
    ids=lambda value: type(value).__name__,
)
def test_constants_that_are_no_finite_numbers_are_refused(value: object) -> None:
    params: dict[str, Any] = {"a": 0.5, "b\x1b[2J": value}
    refused = screen_params(params)
    assert refused is not None and refused.code is Code.BAD_PARAMS
    assert "b [2J" in refused.detail and refused.detail.isprintable()
    assert screen_params({"a": 0.5, "n": 3, "tiny": 5e-324}) is None


def test_threads_may_screen_side_by_side() -> None:
    class Finalized:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            sum(range(50))

    def work(_: int) -> list[object]:
        found = []
        for _ in range(100):
            # Garbage whose end runs Python code, and so lets another thread go on.
            Finalized()
            found.append(screen(GOOD[2], SCORE))
        return found

    interval, threshold = sys.getswitchinterval(), gc.get_threshold()
    sys.setswitchinterval(1e-6)
    gc.set_threshold(20)
    try:
        with ThreadPoolExecutor(8) as threads:
            outcomes = [one for found in threads.map(work, range(8)) for one in found]
    finally:
        sys.setswitchinterval(interval)
        gc.set_threshold(*threshold)
    assert outcomes == [None] * 800
