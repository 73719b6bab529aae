"""Detect recipes that are the same although they are written differently."""

import ast
from functools import lru_cache

import torch
from torch import Tensor

from autoprune.candidate import Candidate
from autoprune.design.formulas import expression_of
from autoprune.digest import digest_bytes
from autoprune.errors import UsageError
from autoprune.metrics.language import TERMINALS, Expression
from autoprune.metrics.language.nodes import Call, Shape, walk
from autoprune.recipe import Recipe

# Functions and methods that change nothing until a value reaches a limit.
LIMITS = frozenset({"min", "max", "clip"})
_LIMITING = frozenset(
    {"clamp", "clip", "where", "masked_fill", "minimum", "maximum", "relu", "hardtanh"}
    | {"nan_to_num", "threshold", "floor", "ceil", "round", "sign", "heaviside"}
    | {"gt", "ge", "lt", "le", "greater", "less"}
)
# Rows and columns of each probe layer, and typical sizes of its weights and of its inputs. Limits
# that one layer never meets, as in max(x_norm, 0.02), change the order of another.
PROBES = ((12, 64, 1.0, 1.0), (20, 48, 1.0, 1.0), (12, 64, 0.02, 1e-3), (20, 48, 0.02, 1e3))


@lru_cache(maxsize=1)
def _probes() -> list[tuple[Tensor, dict[str, Tensor]]]:
    """Make random layers whose rows, columns and inputs differ in size by orders of magnitude.

    Input statistics are consistent, as in real layers, so a limit or a maximum affects some values.
    """
    found = []
    for number, (rows, columns, weights, scale) in enumerate(PROBES):
        generator = torch.Generator().manual_seed(number)

        def drawn(*size: int, generator: torch.Generator = generator) -> Tensor:
            return torch.randn(*size, generator=generator, dtype=torch.float64)

        weight = drawn(rows, columns) * (1.5 * drawn(rows, 1)).exp() * (0.7 * drawn(columns)).exp()
        inputs = (drawn(256, columns) + 0.5 * drawn(columns)) * (1.5 * drawn(columns)).exp()
        weight, inputs = weights * weight, scale * inputs
        stats = {
            "x_norm": inputs.square().mean(0).sqrt(),
            "x_mean": inputs.mean(0),
            "x_var": inputs.var(0, correction=0),
            "x_max": inputs.abs().amax(0),
            "hessian_diag": scale**2 * drawn(columns).exp(),
            "grad_norm": drawn(rows, columns).abs(),
        }
        others = [name for name in TERMINALS if name not in stats and name != "W"]
        for name in others:
            of_inputs = TERMINALS[name].shape == Shape.IN
            stats[name] = drawn(columns).exp() if of_inputs else drawn(rows, columns).abs()
        found.append((weight, stats))
    return found


def differs_elsewhere(recipe: Recipe) -> bool:
    """Whether a recipe that agrees with another on a few layers may differ on others.

    It may where layers compete with each other, where code reads the place of a layer, and where
    values have a limit, which those few layers may never meet.
    """
    if recipe.group in ("block", "global"):
        return True
    if recipe.metric.is_code:
        return any(map(_may_limit, ast.walk(ast.parse(recipe.metric.source))))
    expression = expression_of(recipe.metric)
    nodes = walk(expression.tree) if expression else ()
    return any(isinstance(node, Call) and node.name in LIMITS for _, node in nodes)


def _may_limit(node: ast.AST) -> bool:
    """Whether a part of designed code compares values, cuts them off, or reads a layer's place."""
    match node:
        case ast.Constant(value="position"):
            return True
        case ast.Compare(ops=ops):
            return any(isinstance(one, ast.Lt | ast.LtE | ast.Gt | ast.GtE) for one in ops)
        case ast.Call(
            func=ast.Name(id=name) | ast.Attribute(value=ast.Name(id="torch"), attr=name),
            args=values,
        ):
            others = values[1:]
        case ast.Call(func=ast.Attribute(attr=name), args=others):
            pass
        case _:
            return False
    if name in ("min", "max"):
        # Of two values, unlike the largest along a dimension.
        return any(not isinstance(one, ast.Constant) for one in others)
    return name.rstrip("_") in _LIMITING


def row_order(candidate: Candidate) -> str | None:
    """Digest the order in which a formula ranks the weights of each row of the probe layers.

    Factors of a whole row, constants and increasing functions of the whole score do not change it,
    so row groups lose the same weights at any share. None if the candidate is not a formula, or if
    scores tie, since ties do not define an order.
    """
    expression = expression_of(candidate)
    return None if expression is None else _order(expression)


@lru_cache(maxsize=4096)
def _order(expression: Expression) -> str | None:
    orders = []
    for weight, stats in _probes():
        try:
            scores = expression.evaluate(weight, stats)
        except UsageError:
            return None
        ordered, places = scores.sort(dim=1, stable=True)
        gaps = ordered.diff(dim=1)
        if not bool(scores.isfinite().all()) or bool((gaps <= 0).any()):
            return None
        orders.append(places.to(torch.int32).numpy().tobytes())
    return digest_bytes(b"".join(orders))
