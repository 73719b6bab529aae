"""What formulas compute: against plain torch, at the edges of float32, and as Python source."""

import ast
import random
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from autoprune.errors import UsageError
from autoprune.metrics.language import TERMINALS, parse, random_expression
from autoprune.metrics.language.nodes import Call, Number, Terminal
from autoprune.metrics.language.printing import to_text
from autoprune.metrics.language.vocabulary import FUNCTIONS, OPERATIONS, shape_of
from sandbox.screen import screen
from tests.support.metric_layers import extreme_layers, layer

Straight = Callable[[Tensor, dict[str, Tensor]], Tensor]

CASES: list[tuple[str, Straight]] = [
    ("W", lambda w, s: w),
    ("-W + 2", lambda w, s: 2 - w),
    ("abs(W) * x_norm", lambda w, s: w.abs() * s["x_norm"]),
    ("abs(W) * x_norm ** 0.5", lambda w, s: w.abs() * s["x_norm"].sqrt()),
    ("abs(W) * x_norm ** {a:1.7}", lambda w, s: w.abs() * s["x_norm"] ** 1.7),
    ("abs(W) / x_norm ** -1", lambda w, s: w.abs() / s["x_norm"] ** -1),
    ("W ** 3", lambda w, s: w.abs() ** 3),
    ("sqrt(W) + log1p(W)", lambda w, s: w.abs().sqrt() + torch.log(1 + w.abs())),
    ("exp(W) - tanh(W)", lambda w, s: w.exp() - w.tanh()),
    ("sigmoid(W) * sq(x_mean)", lambda w, s: w.sigmoid() * s["x_mean"] ** 2),
    ("max(W, x_mean) - min(W, 0.01)", lambda w, s: w.maximum(s["x_mean"]) - w.clamp(max=0.01)),
    ("clip(W, -0.01, 0.02)", lambda w, s: w.clamp(-0.01, 0.02)),
    ("W * row_sum(W)", lambda w, s: w * w.sum(1, keepdim=True)),
    ("W * row_mean(W)", lambda w, s: w * w.mean(1, keepdim=True)),
    ("W * row_std(W)", lambda w, s: w * w.std(1, keepdim=True, unbiased=False)),
    ("W / row_norm(W)", lambda w, s: w / w.norm(dim=1, keepdim=True)),
    ("W / row_max(abs(W))", lambda w, s: w / w.abs().max(1, keepdim=True).values),
    ("W * col_sum(W)", lambda w, s: w * w.sum(0)),
    ("W * col_mean(W)", lambda w, s: w * w.mean(0)),
    ("W * col_std(W)", lambda w, s: w * w.std(0, unbiased=False)),
    ("W / col_norm(W)", lambda w, s: w / w.norm(dim=0)),
    ("W / col_max(abs(W))", lambda w, s: w / w.abs().max(0).values),
    ("(W - mean(W)) / std(W)", lambda w, s: (w - w.mean()) / w.std(unbiased=False)),
    ("W * row_sum(x_norm) + mean(x_var)", lambda w, s: w * s["x_norm"].sum() + s["x_var"].mean()),
    ("W * col_sum(row_sum(W))", lambda w, s: w * w.sum()),
    ("row_sum(W) * x_norm", lambda w, s: w.sum(1)[:, None] * s["x_norm"][None]),
    ("minmax(W)", lambda w, s: (w - w.min()) / (w.max() - w.min())),
    ("rank(W)", lambda w, s: w.argsort(1).argsort(1).double() / 19),
    ("W * rank(row_sum(W))", lambda w, s: w * w.sum(1).argsort().argsort()[:, None] / 11),
    ("W * rank(x_norm)", lambda w, s: w * s["x_norm"].argsort().argsort() / 19),
    ("sq(W) * hessian_diag * grad_norm", lambda w, s: w**2 * s["hessian_diag"] * s["grad_norm"]),
    ("W * {a:2} ** {b:3}", lambda w, s: w * 8),
]


@pytest.mark.parametrize(("text", "straight"), CASES, ids=[text for text, _ in CASES])
def test_evaluate_equals_plain_torch(text: str, straight: Straight) -> None:
    weight, stats = layer(11)
    expected = straight(weight.double(), {name: value.double() for name, value in stats.items()})
    found = parse(text).evaluate(weight, stats)
    assert found.dtype == torch.float32 and found.shape == weight.shape
    torch.testing.assert_close(found.double(), expected, rtol=2e-5, atol=1e-7)


def test_every_function_is_covered() -> None:
    used = " ".join(text for text, _ in CASES)
    assert [name for name in FUNCTIONS if f"{name}(" not in used] == []


def test_definitions_near_zero_and_at_overflow() -> None:
    weight = torch.tensor([[0.0, 1e-13, 2e-12, 1e30]])
    stats = {"x_norm": torch.tensor([0.0, 1.0, -1e-13, 1e30])}

    def scores(text: str) -> Tensor:
        return parse(text).evaluate(weight, stats)[0]

    assert scores("(W + 1) / x_norm")[0] == 1e12
    assert scores("W / x_norm").tolist() == pytest.approx([0.0, 1e-13, 2.0, 1.0], rel=1e-6)
    assert scores("W ** -1").tolist() == pytest.approx([1e12, 1e12, 5e11, 1e-30], rel=1e-5)
    assert scores("W * x_norm")[3] == pytest.approx(1e30)
    assert scores("sq(W)")[3] == pytest.approx(1e30)
    assert scores("exp(W)")[3] == pytest.approx(torch.tensor(60.0).exp().item())
    assert scores("W ** 0")[0] == 1
    assert torch.equal(parse("rank(W * 0)").evaluate(weight, stats), torch.zeros(1, 4))


def test_equal_entries_share_a_rank_and_columns_may_be_permuted() -> None:
    weight = torch.tensor([[3.0, 1.0, 3.0, 2.0, 1.0]])
    ranks = parse("rank(W)").evaluate(weight, {})
    assert ranks.tolist() == [[0.75, 0.0, 0.75, 0.5, 0.0]]
    order = torch.tensor([4, 2, 0, 3, 1])
    assert torch.equal(parse("rank(W)").evaluate(weight[:, order], {}), ranks[:, order])


def _formulas(seed: int, count: int) -> list[str]:
    rng = random.Random(seed)
    texts = [random_expression(rng, terminals=TERMINALS, depth=5).text for _ in range(count)]
    for name, operation in OPERATIONS.items():
        for leaf in (Terminal("W"), Terminal("x_mean"), Terminal("grad_norm")):
            others = (Number(2.0),) if operation.rule == "power" else (leaf,) * operation.arity
            try:
                shape_of(call := Call(name, (leaf, *others)[: operation.arity]))
            except ValueError:
                continue
            texts.append(_product_text(call))
    return texts


def _product_text(call: Call) -> str:
    return f"W * {to_text(call)}" if call.name not in ("add", "sub") else f"W * ({to_text(call)})"


def test_finite_in_finite_out() -> None:
    layers = extreme_layers()
    for text in _formulas(1, 250):
        expression = parse(text)
        for weight, stats in layers:
            assert torch.isfinite(expression.evaluate(weight, stats)).all(), text


def test_python_source_gives_the_same_bits() -> None:
    layers = [layer(21), layer(22, 33, 65), *extreme_layers()]
    for text in _formulas(2, 120):
        expression = parse(text)
        values = {name: value * 1.5 for name, value in expression.constants.items()}
        scope: dict[str, Callable[..., Tensor]] = {}
        exec(expression.to_python(), scope)
        for weight, stats in layers:
            own = expression.evaluate(weight, stats)
            assert torch.equal(scope["score"](weight, stats, {}), own), text
            tuned = expression.evaluate(weight, stats, values)
            assert torch.equal(scope["score"](weight, stats, values), tuned), text
            assert torch.equal(expression.with_constants(values).evaluate(weight, stats), tuned)


def test_python_source_is_plain_torch() -> None:
    allowed = {"torch", "W", "stats", "params", "float", "max"}
    for text in _formulas(3, 60):
        source = parse(text).to_python()
        tree = ast.parse(source)
        imports = [n for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom)]
        assert [ast.unparse(node) for node in imports] == ["import torch"]
        stored = {
            n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
        }
        defined = {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}
        arguments = {n.arg for n in ast.walk(tree) if isinstance(n, ast.arg)}
        loaded = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
        assert loaded <= allowed | stored | defined | arguments
        assert not [n for n in ast.walk(tree) if isinstance(n, ast.Attribute) and n.attr[0] == "_"]
        assert "autoprune" not in source
        assert defined - {"score"} == {name for name in defined if source.count(f"{name}(") > 1}


def test_long_formulas_give_flat_source() -> None:
    weight, stats = layer(23)
    chain = parse("W" + " + W * 1.25" * 49)
    scope: dict[str, Callable[..., Tensor]] = {}
    exec(chain.to_python(), scope)
    assert torch.equal(scope["score"](weight, stats, {}), chain.evaluate(weight, stats))
    assert max(line.count("(") for line in chain.to_python().splitlines()) < 40


def test_python_source_passes_the_screen_of_the_sandbox() -> None:
    for text in [*_formulas(5, 200), "W" + " + W * x_norm" * 49, "abs(W) * x_norm ** {a:-0.5}"]:
        source = parse(text).to_python()
        assert screen(source) is None, text


def test_python_source_runs_alone() -> None:
    source = parse("abs(W) / row_sum(abs(W)) * x_norm ** {a:0.5} + rank(W)").to_python()
    script = (
        "import sys\n" + source + "\nw = torch.ones(2, 3)\n"
        "print(score(w, {'x_norm': torch.full((3,), 4.0)}, {'a': 1.0}).sum().item())\n"
        "assert not any(name.startswith('autoprune') for name in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True
    )
    assert float(done.stdout) == pytest.approx(8.0)


def test_inputs_are_neither_changed_nor_returned() -> None:
    for text in ["W", "abs(W)", "max(W, W)", "minmax(W)", "W ** -1", *_formulas(4, 40)]:
        weight, stats = layer(31)
        before = weight.clone(), {name: value.clone() for name, value in stats.items()}
        expression = parse(text)
        score = expression.evaluate(weight, stats)
        scope: dict[str, Callable[..., Tensor]] = {}
        exec(expression.to_python(), scope)
        other = scope["score"](weight, stats, {})
        score.add_(1.0)
        other.add_(1.0)
        assert torch.equal(weight, before[0]), text
        assert all(torch.equal(stats[name], before[1][name]) for name in stats), text


def test_half_precision_weights_are_scored_in_float32() -> None:
    weight, stats = layer(41)
    half = weight.to(torch.bfloat16)
    expression = parse("abs(W) * x_norm")
    assert torch.equal(expression.evaluate(half, stats), expression.evaluate(half.float(), stats))
    parameter = torch.nn.Parameter(weight)
    assert not expression.evaluate(parameter, stats).requires_grad


def test_wrong_inputs_are_named() -> None:
    weight, stats = layer(41)
    expression = parse("abs(W) * x_norm ** {a:0.5}")
    with pytest.raises(UsageError, match=r"needs the statistic 'x_norm'; available: none"):
        expression.evaluate(weight, {})
    with pytest.raises(UsageError, match=r"has shape \(3,\); \(20,\) is needed"):
        expression.evaluate(weight, {"x_norm": torch.ones(3)})
    with pytest.raises(UsageError, match=r"\[out, in\] is needed"):
        expression.evaluate(weight[0], stats)
    with pytest.raises(UsageError, match="unknown constant 'b'"):
        expression.evaluate(weight, stats, {"b": 1.0})
    with pytest.raises(UsageError, match="constant 'a' is inf"):
        expression.evaluate(weight, stats, {"a": float("inf")})
