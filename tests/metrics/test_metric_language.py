"""The parser, the printer and the errors of the metric language."""

import random
import string
import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoprune.errors import UsageError
from autoprune.metrics.language import (
    BASIC_TERMINALS,
    FUNCTIONS,
    TERMINALS,
    Expression,
    ExpressionError,
    mutate,
    parse,
    random_expression,
    reference,
)
from autoprune.metrics.language.nodes import Call, Constant, Node, Number, Terminal, walk
from autoprune.metrics.language.printing import to_text
from autoprune.metrics.language.vocabulary import OPERATIONS, ShapeMismatchError, shape_of

RIA = "(abs(W) / row_sum(abs(W)) + abs(W) / col_sum(abs(W))) * x_norm ** {a:0.5}"

NUMBERS = st.floats(0, 1e6, allow_nan=False).map(abs)
LEAVES = st.one_of(
    st.sampled_from([Terminal(name) for name in TERMINALS]),
    NUMBERS.map(Number),
    st.sampled_from([Constant("a", 0.5), Constant("long_name", -2.0), Constant("c", 1e-7)]),
)


def _calls(children: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    return st.one_of(
        *[
            st.tuples(*[children] * op.arity).map(lambda args, name=name: Call(name, args))
            for name, op in OPERATIONS.items()
        ]
    )


TREES = st.recursive(LEAVES, _calls, max_leaves=14)


def _typed(tree: Node) -> Expression | None:
    """The tree as a metric, made one by a factor where it lacks the shape or the weight."""
    for candidate in (tree, Call("mul", (Terminal("W"), tree))):
        try:
            return Expression.from_tree(candidate)
        except ValueError:
            continue
    return None


@settings(max_examples=400, deadline=None)
@given(TREES)
def test_text_reads_back_as_the_same_tree(tree: Node) -> None:
    expression = _typed(tree)
    if expression is None:
        return
    again = parse(expression.text)
    assert again.tree == expression.tree
    assert again.text == expression.text
    assert again == expression and hash(again) == hash(expression)
    assert again.digest == expression.digest
    assert "\n" not in expression.text
    assert again.size == sum(1 for _ in walk(again.tree))


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("abs(W)*x_norm", "abs(W) * x_norm"),
        (" ( ( abs( W ) ) )\n * x_norm ^ .5", "abs(W) * x_norm ** 0.5"),
        ("W - (x_norm - x_max)", "W - (x_norm - x_max)"),
        ("(W - x_norm) - x_max", "W - x_norm - x_max"),
        ("W / (x_norm * x_max)", "W / (x_norm * x_max)"),
        ("W * (x_norm / x_max)", "W * (x_norm / x_max)"),
        ("-W ** 2", "-W ** 2"),
        ("(-W) ** 2", "(-W) ** 2"),
        ("W ** -2", "W ** -2"),
        ("W ** (2 ** 3)", "W ** 2 ** 3"),
        ("(W ** 2) ** 3", "(W ** 2) ** 3"),
        ("+W - -x_norm", "W - -x_norm"),
        ("-(W + x_norm)", "-(W + x_norm)"),
        ("1e-3 * W * 1.50 * 10", "0.001 * W * 1.5 * 10"),
        ("W ** {0.5} + x_norm ** {0.25}", "W ** {a:0.5} + x_norm ** {b:0.25}"),
        ("W ** {b:1} + {2} * x_norm ** {b}", "W ** {b:1} + {a:2} * x_norm ** {b:1}"),
        ("W * {a = -0.5}", "W * {a:-0.5}"),
        ("abs(W) * (1 / x_norm)", "abs(W) * (1 / x_norm)"),
        ("row_sum(W) * x_norm + W", "row_sum(W) * x_norm + W"),
    ],
)
def test_canonical_text(text: str, canonical: str) -> None:
    assert parse(text).text == canonical
    assert parse(canonical).text == canonical


def test_a_tree_may_be_as_deep_as_the_parser_reads_it() -> None:
    wraps: list[Callable[[Node], Node]] = [
        lambda node: Call("abs", (node,)),
        lambda node: Call("neg", (node,)),
        lambda node: Call("pow", (node, Number(2.0))),
        lambda node: Call("sub", (Terminal("x_norm"), node)),
    ]
    for wrap in wraps:
        tree: Node = Terminal("W")
        deepest = 0
        for depth in range(1, 40):
            tree = wrap(tree)
            try:
                expression = Expression.from_tree(tree)
            except ShapeMismatchError:
                break
            assert parse(expression.text) == expression
            deepest = depth
        assert 20 < deepest < 30
        with pytest.raises(ExpressionError, match="nested more than 24 deep"):
            parse(to_text(tree))
    flat: Node = Terminal("W")
    for _ in range(60):
        flat = Call("add", (flat, Terminal("x_norm")))
    assert parse(Expression.from_tree(flat).text).tree == flat


def test_properties_of_a_formula() -> None:
    expression = parse("abs(W) * x_norm ** {a:0.5} + {b:2} * grad_norm")
    assert expression.constants == {"a": 0.5, "b": 2.0}
    assert expression.needs == {"x_norm", "grad_norm"}
    assert expression.size == 10
    changed = expression.with_constants({"a": 1})
    assert changed.text == "abs(W) * x_norm ** {a:1} + {b:2} * grad_norm"
    assert changed.structure == expression.structure
    assert changed.digest != expression.digest
    with pytest.raises(UsageError, match="tunable: a, b"):
        expression.with_constants({"c": 1.0})
    with pytest.raises(UsageError, match="allowed"):
        expression.with_constants({"a": float("nan")})


@pytest.mark.parametrize(
    ("text", "column", "shown"),
    [
        ("", 1, "empty formula; write one such as"),
        ("abs(W) * x_nrom", 10, "did you mean x_norm?"),
        ("log(abs(W))", 1, "did you mean log1p?"),
        ("abs(W) * k", 10, "a constant is written {a:0.5}"),
        ("score = abs(W)", 1, "write only the formula"),
        ("abs(W) * (x_norm", 17, "expected ')', found the end"),
        ("abs(W) x_norm", 8, "expected an operator"),
        ("abs(W) *", 9, "expected a value, found the end; values: W"),
        ("abs W", 1, "write abs(x)"),
        ("max(W)", 1, "max takes 2 arguments, got 1; write max(x, y)"),
        ("row_sum(W, 1) * W", 1, "row_sum takes 1 argument, got 2"),
        ("W(x_norm)", 2, "W is a value, not a function"),
        ("W ** x_norm", 3, "it must be a scalar"),
        ("W * row_sum(row_sum(W))", 5, "row_sum takes [out,in] or [1,in], not [out,1]"),
        ("W * col_sum(x_norm)", 5, "col_sum takes [out,in] or [out,1], not [1,in]"),
        ("W * mean(2)", 5, "takes a matrix or vector, not a scalar"),
        ("x_norm * 2", 1, "shape [1,in], but a score for each weight [out,in] is needed"),
        ("row_sum(W)", 1, "shape [out,1]"),
        ("grad_norm * x_norm", 1, "does not use W"),
        ("W * {a}", 6, "has no value yet; write {a:0.5}"),
        ("W * {a:0.5} * {a:0.6}", 16, "was 0.5 before"),
        ("W * {W:0.5}", 6, "cannot name a constant"),
        ("W * {a:}", 8, "a name and a number"),
        ("W * 1e9", 5, "constants go up to 1e+06"),
        ("W * 1e999", 5, "too large"),
        ("W × x_norm", 3, "use *"),
        ("|W|", 1, "use abs(...)"),
        ("torch.abs(W)", 6, "without torch."),
        ("W * x_norm[None]", 11, "use ( )"),
        ("W; import os", 2, "unexpected character ';'"),
        ("W + " * 150 + "W", 399, "more than 200 parts"),
        ("(" * 40 + "W" + ")" * 40, 25, "nested more than 24 deep"),
        ("-" * 40 + "W", 25, "nested more than 24 deep"),
        ("W" + " ** 2" * 40, 123, "nested more than 24 deep"),
        ("W" * 5000, 4001, "5000 characters long"),
    ],
)
def test_errors_point_and_say_what_is_allowed(text: str, column: int, shown: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse(text)
    error = caught.value
    assert isinstance(error, UsageError) and error.exit_code == 2
    assert shown in error.line
    assert error.line.startswith(f"column {column}: ")
    assert "\n" not in error.line and len(error.line) <= 400
    head, excerpt, caret = str(error).split("\n")
    assert head == error.line
    if column <= len(text):
        assert excerpt[caret.index("^")] == text[column - 1]


def test_only_the_statistics_of_the_run_may_be_used() -> None:
    assert parse("abs(W) * grad_norm").needs == {"grad_norm"}
    with pytest.raises(
        ExpressionError, match="'grad_norm' is not available in this run; values: W"
    ):
        parse("abs(W) * grad_norm", terminals=BASIC_TERMINALS)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("abs(W) * x_norm", "x_norm * abs(W)"),
        ("W + x_norm - x_max", "-x_max + (x_norm + W)"),
        ("W / x_norm / x_max", "W / (x_max * x_norm)"),
        ("sq(W)", "W ** 2"),
        ("sq(abs(W))", "W * W"),
        ("sqrt(abs(W))", "W ** 0.5"),
        ("W ** {a:0.5}", "W ** {exponent:0.5}"),
        ("max(W, max(x_norm, x_max))", "max(max(x_max, W), x_norm)"),
        ("min(W, W) * 1", "1 * min(W, W)"),
        ("abs(-W)", "abs(abs(W))"),
        ("abs(W * x_norm)", "abs(W) * x_norm"),
        ("2 * (W * 3)", "6 * W"),
        ("0.1 * W * 3", "0.3 * W"),
        ("-(-W)", "W"),
        ("W + W", "W + W * 1"),
    ],
)
def test_writing_does_not_change_the_digest(left: str, right: str) -> None:
    assert parse(left).digest == parse(right).digest


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("W", "abs(W)"),
        ("W - x_mean", "x_mean - W"),
        ("W / x_norm", "W * x_norm"),
        ("W ** 2", "W ** 3"),
        ("abs(W + x_mean)", "abs(W) + x_mean"),
        ("abs(W * x_mean)", "abs(W) * x_mean"),
        ("W ** {a:0.5}", "W ** {a:0.6}"),
        ("row_sum(W) * W", "col_sum(W) * W"),
        ("max(W, x_norm)", "min(W, x_norm)"),
        ("W * 0 ** -1", "W * 1"),
        ("W / (0 * x_norm)", "W * 0 ** -1 * x_norm"),
        ("W * 0.1234567", "W * 0.1234568"),
    ],
)
def test_another_formula_has_another_digest(left: str, right: str) -> None:
    assert parse(left).digest != parse(right).digest


def _garbage(rng: random.Random) -> str:
    """Noise, broken formulas, code, prose: what a language model may answer."""
    words = [*TERMINALS, *FUNCTIONS, "{a:0.5}", "{a}", "0.5", "1e-3", "import os", "score", "log"]
    words += ["𝒲", "Ｗ", "x\u200b_norm", "\x00", "\ud800", "٣", "²", "|", "```python", "\\frac"]
    symbols = [*"+-*/(),{}:=^.[]<>!@#$%&;'\"`~?\\ \n\t", "**", "//", "->"]
    kind = rng.random()
    if kind < 0.25:
        return "".join(chr(rng.randrange(1, 0x11000)) for _ in range(rng.randrange(60)))
    if kind < 0.5:
        return "".join(rng.choices(string.printable, k=rng.randrange(120)))
    if kind < 0.8:
        parts = rng.choices([*words, *symbols], k=rng.randrange(1, 40))
        return rng.choice(["", " "]).join(parts)
    text = list(rng.choice([RIA, "abs(W) * x_norm ** {a:0.5}", "-W ** -2 + max(W, 1)"]))
    for _ in range(rng.randrange(1, 6)):
        where = rng.randrange(len(text))
        text[where : where + rng.randrange(3)] = rng.choice([*words, *symbols, ""])
    if kind > 0.98:
        return "".join(text) * rng.randrange(1, 2000)
    return "".join(text)[: rng.randrange(1, 200)]


def test_ten_thousand_garbage_answers_give_formulas_or_coded_errors() -> None:
    rng = random.Random(0)
    valid = 0
    started = time.process_time()
    for _ in range(10_000):
        text = _garbage(rng)
        try:
            expression = parse(text)
        except ExpressionError as error:
            assert len(error.line) <= 400 and error.line.isprintable()
            continue
        valid += 1
        assert parse(expression.text).text == expression.text
        assert expression.text.isascii()
        assert expression.to_python().isascii() and expression.to_latex() and expression.digest
    assert 10 < valid < 5000
    assert time.process_time() - started < 20


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=200))
def test_any_text_parses_or_raises_the_one_error(text: str) -> None:
    try:
        parse(text)
    except ExpressionError as error:
        assert error.line


def test_reference_names_every_word_once_and_follows_the_run() -> None:
    text = reference(TERMINALS)
    for name in [*TERMINALS, *FUNCTIONS]:
        assert sum(line.split()[:1] == [name] for line in text.splitlines()) == 1
    assert "grad_norm" not in reference()
    assert parse(text.splitlines()[-1].removeprefix("Example: ")).needs == {"x_norm"}


def test_latex_renders() -> None:
    from matplotlib.mathtext import MathTextParser

    renderer = MathTextParser("path")
    rng = random.Random(3)
    texts = [RIA, "sq(W) * hessian_diag", "-W ** -2 - (x_mean - {gain_x:1e-7})", "W ** (1 / 3)"]
    texts += [f"W * {name}(W)" for name in FUNCTIONS if OPERATIONS[name].arity == 1]
    texts += ["clip(W, 0, 1)", "max(W, x_max) + min(W, x_var)"]
    formulas = [parse(text) for text in texts]
    formulas += [random_expression(rng, terminals=TERMINALS) for _ in range(40)]
    formulas += [mutate(formula, rng) for formula in formulas]
    for formula in formulas:
        latex = formula.to_latex()
        assert latex.count("{") == latex.count("}")
        renderer.parse(f"${latex}$")
    assert parse("abs(W) * x_norm").to_latex() == r"\left|W_{ij}\right| \cdot \Vert x_j \Vert"


def test_every_operation_has_a_shape_for_a_matrix() -> None:
    for name in FUNCTIONS:
        arity = OPERATIONS[name].arity
        tree = Call(name, (Terminal("W"), *[Number(1.0)] * (arity - 1)))
        assert shape_of(tree).label in ("scalar", "[out,1]", "[1,in]", "[out,in]")
