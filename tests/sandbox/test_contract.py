"""The contract of a scoring function: each property has a code, and honest designs keep to all."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from sandbox.client import Sandbox
from sandbox.codes import Code
from sandbox.container import Order
from sandbox.contract import VARIANTS, judge_contract, uses_position
from sandbox.limits import Limits
from sandbox.outcomes import Accepted, Rejected
from sandbox.probe_layers import SHAPES, probe_tensors
from tests.support.shared_container import SharedPool

HEAD = "import torch\n\n\ndef score(W, stats, params):\n"
WANDA = "    return W.abs() * stats['x_norm']\n"
BROKEN = {
    "rows by position": (
        Code.NOT_EQUIVARIANT,
        "    return W.abs() * torch.linspace(1, 2, W.shape[0])[:, None]\n",
        "the rows came in another order: expected",
    ),
    "columns by position": (
        Code.NOT_EQUIVARIANT,
        "    return W.abs().cumsum(1)\n",
        "the columns came in another order: expected",
    ),
    "the first row is kept": (
        Code.NOT_EQUIVARIANT,
        "    s = W.abs().clone()\n    s[0] += 10\n    return s\n",
        "USES_POSITION = True",
    ),
    "seeded noise": (
        Code.NOT_EQUIVARIANT,
        "    torch.manual_seed(0)\n    return W.abs() + torch.rand_like(W)\n",
        "of 3072 scores changed",
    ),
    "statistics beside their columns": (
        Code.NOT_EQUIVARIANT,
        "    return W.abs() * stats['x_norm'].sort().values\n",
        "columns",
    ),
    "overflow": (Code.SCALE_UNSTABLE, "    return torch.exp(W.abs() * 100)\n", "times 4"),
    "underflow": (
        Code.SCALE_UNSTABLE,
        "    return (W * 0.05) ** 18 * 1e30\n",
        "weights times 0.03125",
    ),
    "chance": (Code.NONDETERMINISTIC, "    return torch.rand_like(W)\n", "expected"),
    "state": (
        Code.DEPENDS_ON_BATCH,
        "    seen.append(1)\n    return W.abs() + len(seen)\n",
        "in the same order they do not",
    ),
    "weights changed": (Code.MUTATED_INPUT, "    return W.mul_(2).abs()\n", "changed W in place"),
}
JUDGED = (Code.NOT_EQUIVARIANT, Code.SCALE_UNSTABLE)
THROUGH_DOCKER = ("columns by position", "overflow", "chance", "state", "weights changed")
HONEST = {
    "wanda": WANDA,
    "ria": (
        "    m = W.abs()\n"
        "    r = m / m.sum(0, keepdim=True) + m / m.sum(1, keepdim=True)\n"
        "    return r * stats['x_norm'] ** 0.5\n"
    ),
    "ranks": "    s = W.abs() * stats['x_norm']\n    return s.argsort(1).argsort(1).float() + s\n",
    "standardised": "    return ((W - W.mean()) / W.std()).abs() * stats['x_var'].log1p()\n",
    "threshold": "    m = W.abs()\n    return torch.where(m > m.mean(1, keepdim=True), m * 2, m)\n",
    "low rank": (
        "    u, s, v = torch.linalg.svd(W, full_matrices=False)\n"
        "    return (W - (u[:, :4] * s[:4]) @ v[:4]).abs()\n"
    ),
    "sum of unlike terms": "    return W.abs() + 0.1 * stats['x_max'].sqrt()\n",
}
LAYERS = [*map(probe_tensors, range(len(SHAPES))), *(variant.tensors() for variant in VARIANTS)]


def source(body: str) -> str:
    return ("seen = []\n" if "seen" in body else "") + HEAD + body


def judged(body: str, *, positional: bool = False) -> tuple[Code, str] | None:
    """What the host says about our own source, run here on the layers of the probe."""
    namespace: dict[str, Callable[..., torch.Tensor]] = {}
    exec(source(body), namespace)
    scores = []
    for layer in LAYERS:
        tensors = {name: torch.from_numpy(value.copy()) for name, value in layer.items()}
        scores.append(namespace["score"](tensors.pop("W"), tensors, {}).numpy())
    return judge_contract(scores, positional=positional, distinct=16)


@pytest.mark.parametrize("name", [n for n in BROKEN if BROKEN[n][0] in JUDGED])
def test_a_broken_property_is_named_with_expected_and_got(name: str) -> None:
    code, body, says = BROKEN[name]
    found = judged(body)
    assert found is not None
    assert found[0] is code
    assert says in found[1]
    assert len(found[1]) <= 400
    assert "expected" in found[1]


@pytest.mark.parametrize("name", HONEST)
def test_honest_designs_keep_the_contract(name: str) -> None:
    assert judged(HONEST[name]) is None


@pytest.mark.parametrize("code", [Code.TIMEOUT, Code.KILLED, Code.NAN_SCORES])
def test_a_second_try_that_ends_otherwise_names_no_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: Code
) -> None:
    box, first = Sandbox(inputs=tmp_path), Rejected(Code.NONDETERMINISTIC, "3 scores differ", 1.0)
    order = Order("", {}, (), ((0, 1), (1, 0)), False, 1.0)
    monkeypatch.setattr(box, "_settled", lambda _: Rejected(code, "something else", 1.0))
    assert box._named_cause(order, first) is first
    monkeypatch.setattr(box, "_settled", lambda _: Rejected(Code.NOT_EQUIVARIANT, "", 1.0))
    assert box._named_cause(order, first).code is Code.DEPENDS_ON_BATCH


@pytest.fixture(scope="module")
def box(layer_folder: Path) -> Iterator[Sandbox]:
    """One container for all candidates: none does anything to it."""
    limits = Limits(probe_s=20, score_s=30, warm=0)
    with Sandbox(inputs=layer_folder, image="bind", limits=limits, run_id="contract") as made:
        SharedPool(made)
        yield made


@pytest.mark.docker
@pytest.mark.parametrize("name", THROUGH_DOCKER)
def test_each_code_comes_out_of_the_container(name: str, box: Sandbox) -> None:
    code, body, says = BROKEN[name]
    outcome = box.probe(source(body))
    assert isinstance(outcome, Rejected), outcome
    assert outcome.code is code, outcome
    assert says in outcome.detail


@pytest.mark.docker
def test_position_is_allowed_to_those_who_say_so(box: Sandbox) -> None:
    body = BROKEN["columns by position"][1]
    outcome = box.probe("USES_POSITION = True\n" + source(body))
    assert isinstance(outcome, Accepted)
    assert len(outcome.scores) == len(SHAPES)


def test_what_is_not_a_number_is_no_agreement() -> None:
    scores = [np.abs(layer["W"]) for layer in LAYERS]
    scores[len(SHAPES)] = np.full_like(scores[len(SHAPES)], np.nan)
    found = judge_contract(scores, positional=False, distinct=16)
    assert found is not None
    assert found[0] is Code.NOT_EQUIVARIANT
    assert judge_contract(scores, positional=True, distinct=16) is None


def test_variants_change_one_thing_each() -> None:
    for variant in VARIANTS:
        before, after = probe_tensors(variant.base), variant.tensors()
        assert set(before) == set(after)
        assert np.isclose(
            np.sort(after["W"].ravel()), np.sort(before["W"].ravel()) * variant.weight_factor
        ).all()
        moved = after["x_norm"].argmax() != before["x_norm"].argmax()
        assert moved == (variant.columns is not None)
    quiet = next(v for v in VARIANTS if v.input_factor < 1)
    ratio = quiet.tensors()["x_var"] / probe_tensors(quiet.base)["x_var"]
    np.testing.assert_allclose(ratio, quiet.input_factor**2)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("USES_POSITION = True\n", True),
        ("import torch\n\nUSES_POSITION = True\n", True),
        ("USES_POSITION = False\n", False),
        ("USES_POSITION = 1\n", False),
        ("def score(W, stats, params):\n    USES_POSITION = True\n", False),
        ("# USES_POSITION = True\n", False),
        ("USES_POSITION = (", False),
        ("(" * 5000, False),
    ],
)
def test_the_declaration_is_read_and_not_run(text: str, says: bool) -> None:
    assert uses_position(text) is says


def test_the_manual_explains_the_contract() -> None:
    manual = (Path(__file__).parents[2] / "docs" / "sandbox.md").read_text(encoding="utf-8")
    assert "USES_POSITION = True" in manual
