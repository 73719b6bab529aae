"""Formulas of candidates, and ways to change them without an LLM."""

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from random import Random

from autoprune.candidate import Candidate
from autoprune.design.parsing import normalised
from autoprune.design.program_lines import without_a_line
from autoprune.metrics import build_metric
from autoprune.metrics.language import (
    Expression,
    crossover,
    factor_extensions,
    mutate,
    parse,
    random_expression,
    term_ablations,
)
from autoprune.metrics.language.nodes import Call, Constant, Node, Path, Shape, Terminal, walk
from autoprune.metrics.language.nodes import replace as put
from autoprune.metrics.language.printing import to_text
from autoprune.metrics.language.vocabulary import TERMINALS, ShapeMismatchError, shape_of


def expression_of(candidate: Candidate) -> Expression | None:
    """Return a candidate's formula; None for code and for built-ins without a formula."""
    if candidate.kind == "expression":
        return _parsed(candidate.source)
    return _builtin(candidate.source) if candidate.kind == "builtin" else None


# A search compares every new formula with all it has.
_parsed = lru_cache(maxsize=4096)(parse)


@lru_cache(maxsize=64)
def _builtin(name: str) -> Expression | None:
    formula = build_metric(name).formula
    return parse(formula) if formula else None


def formula_text(candidate: Candidate) -> str:
    """Return a candidate's text for people and prompts: formula, name, ``python`` or program."""
    expression = expression_of(candidate)
    if expression is not None:
        return expression.text
    if candidate.kind == "program":
        return candidate.text
    return "python" if candidate.kind == "python" else candidate.source


def text_key(candidate: Candidate) -> str:
    """Return a key that is equal for equivalent spellings; built-ins equal their formula."""
    expression = expression_of(candidate)
    return normalised(candidate) if expression is None else expression.digest


def to_candidate(expression: Expression) -> Candidate:
    """Make a candidate from a formula."""
    return Candidate("expression", expression.text, dict(expression.constants))


def mutated(candidate: Candidate, rng: Random, terminals: Collection[str]) -> Candidate | None:
    """Make one change by genetic programming; None if the candidate is not a formula."""
    expression = expression_of(candidate)
    if expression is None:
        return None
    return to_candidate(mutate(expression, rng, terminals=terminals))


def crossed(first: Candidate, second: Candidate, rng: Random) -> Candidate | None:
    """Graft a subtree of ``second`` into ``first``; None unless both are formulas."""
    left, right = expression_of(first), expression_of(second)
    return None if left is None or right is None else to_candidate(crossover(left, right, rng))


def invented(rng: Random, terminals: Collection[str]) -> Candidate:
    """Make a random formula."""
    return to_candidate(random_expression(rng, terminals=terminals))


def lifted(candidate: Candidate) -> Candidate:
    """Add a tunable exponent to the first statistic of a formula without constants.

    The exponent is 1, so the scores stay the same. Other candidates are returned unchanged, and so
    are formulas that would become too large or too deep.
    """
    expression = expression_of(candidate)
    if expression is None or expression.constants:
        return candidate
    for path, node in walk(expression.tree):
        inside = path and path[:-1]
        parent = _at(expression.tree, inside) if path else None
        powered = isinstance(parent, Call) and parent.name == "pow"
        if isinstance(node, Terminal) and TERMINALS[node.name].nonnegative and not powered:
            power = Call("pow", (node, Constant("a", 1.0)))
            with suppress(ShapeMismatchError):
                return to_candidate(Expression.from_tree(put(expression.tree, path, power)))
    return candidate


BLANK = "____"


@dataclass(frozen=True)
class Blank:
    """A formula with one place to fill.

    Args:
        before: Text up to the place.
        after: Text after the place; empty if the formula is only continued.
    """

    before: str
    after: str

    @property
    def shown(self) -> str:
        """The formula with a blank, for people and prompts."""
        return f"{self.before}{BLANK}{self.after}" if self.after else f"{self.before} {BLANK}"


def blanked(candidate: Candidate, rng: Random) -> Blank | None:
    """Choose a place to fill: after the whole formula, or in place of a value of the inputs.

    None if the candidate is not a formula.
    """
    expression = expression_of(candidate)
    if expression is None:
        return None
    places = [
        path
        for path, node in walk(expression.tree)
        if shape_of(node) == Shape.IN and not isinstance(node, Constant)
    ]
    if places and rng.random() < 0.5:
        marked = to_text(put(expression.tree, rng.choice(places), Terminal(BLANK)))
        before, _, after = marked.partition(BLANK)
        return Blank(f"{before}(", f"){after}")
    sum_of_terms = isinstance(expression.tree, Call) and expression.tree.name in ("add", "sub")
    return Blank(f"({expression.text})" if sum_of_terms else expression.text, "")


def _at(tree: Node, path: Path) -> Node:
    for index in path:
        assert isinstance(tree, Call)
        tree = tree.args[index]
    return tree


@dataclass(frozen=True)
class Reduced:
    """A candidate with one term removed.

    Args:
        dropped: The term, as text.
        candidate: What is left.
    """

    dropped: str
    candidate: Candidate


def reduced(candidate: Candidate) -> list[Reduced]:
    """Return all candidates without one term, or one line of a program; empty for other code."""
    if candidate.kind == "program":
        found = without_a_line(candidate.source)
        return [Reduced(line, replace(candidate, source=source)) for line, source in found]
    expression = expression_of(candidate)
    if expression is None:
        return []
    return [Reduced(a.dropped, to_candidate(a.expression)) for a in term_ablations(expression)]


@dataclass(frozen=True)
class Extended:
    """A candidate with one more factor.

    Args:
        added: The factor, as text.
        opposite: Text of the factor with the reverse effect.
        candidate: The whole formula.
    """

    added: str
    opposite: str
    candidate: Candidate


def extended(
    candidate: Candidate, terminals: Collection[str], *, across_rows: bool
) -> list[Extended]:
    """Return all candidates with one more factor; empty if the candidate is not a formula."""
    expression = expression_of(candidate)
    if expression is None:
        return []
    found = factor_extensions(expression, terminals=terminals, across_rows=across_rows)
    return [Extended(e.added, e.opposite, to_candidate(e.expression)) for e in found]
