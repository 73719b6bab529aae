"""The parts of a recipe other than the metric: allocation and repair, as text and as numbers."""

import ast
import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from random import Random
from typing import Any

from autoprune.allocation import ALLOCATORS, Formula, build_allocator
from autoprune.allocation.formula import (
    DESCRIPTORS,
    LARGEST_NUMBER,
    numbers_of,
    parse_allocation,
    with_numbers,
)
from autoprune.allocation.selection import UNIFORM
from autoprune.candidate import Group
from autoprune.errors import UsageError
from autoprune.recipe import Recipe
from autoprune.repair import EBFT, NONE, REPAIRS, WALK, BlockTuning, Repair
from autoprune.textform import TextForm

Range = tuple[float, float]
# By name of an allocator or a repair, then parameter.
Ranges = Mapping[str, Mapping[str, Range]]
FORMULA = "formula"
FORMULA_RANGE: Range = (0.0, 0.3)
MOST_TERMS = 4
# Initial strengths of random allocations, which spread layers by 5 to 20 points.
STRENGTHS = (0.05, 0.1, 0.15, 0.2)
NUDGES = (0.02, 0.04, 0.08)
# Texts for prompts; a plug-in is described by the first line of its docstring.
ALLOCATION_MEANINGS = {
    UNIFORM: "every layer loses the same share",
    "ramp": "late blocks lose more, on a straight line over depth; relax_last takes the last block "
    "back towards the mean, all of the way at 1: ramp:half_width=W,relax_last=R",
    "sdsa": "blocks whose |W| has a heavy tail lose less, by at most the strength",
}
# Formulas of families with one strength, to which terms can be added.
AS_FORMULA = {"ramp": ("half_width", "depth"), "sdsa": ("strength", "-soft(tail)")}


def allocation_meaning(text: str) -> str:
    """Describe a family of allocations on one line."""
    name = family(text)
    return ALLOCATION_MEANINGS.get(name, ALLOCATORS.get(name).summary().rstrip("."))


@dataclass(frozen=True)
class Choices:
    """Allowed values of the parts of a recipe.

    Args:
        groups: Comparison groups.
        allocations: Allocator families.
        repairs: Repairs, as text.
        ranges: Ranges of parameters that may be tuned, by allocator or repair, then parameter.
        statistics: Values other than ``W`` that formulas may use.
        words: Words of allocation formulas.
        compositions: Repairs made of two of ``repairs``; see
            :func:`autoprune.design.repairs.compositions`.
        schemes: Families of schemes, which replace metrics.
    """

    groups: Sequence[Group]
    allocations: Sequence[str]
    repairs: Sequence[str]
    ranges: Ranges = field(default_factory=dict)
    statistics: Sequence[str] = ()
    words: Sequence[str] = tuple(DESCRIPTORS)
    compositions: Sequence[str] = ()
    schemes: Sequence[str] = ()

    @property
    def all_repairs(self) -> list[str]:
        """All repairs: the given ones and their compositions."""
        return list(dict.fromkeys((*self.repairs, *self.compositions)))


def family(text: str) -> str:
    """Return the name of an allocator or repair without its parameters."""
    return text.partition(":")[0].strip()


@lru_cache(maxsize=4096)
def canonical_allocation(text: str) -> str:
    """Return the canonical text of an allocation."""
    return build_allocator(text).text


@lru_cache(maxsize=1024)
def repair_of(text: str) -> Repair:
    """Read a repair once."""
    return Repair.parse(text)


@lru_cache(maxsize=1024)
def canonical_repair(text: str) -> str:
    """Return the canonical text of a repair."""
    return repair_of(text).text


def ignores_metric(recipe: Recipe) -> bool:
    """Whether the repair chooses its own mask, so that the metric has no effect."""
    return repair_of(recipe.repair).forgets(recipe.group)


def program_fault(group: str, repair: str) -> str:
    """Return why a program cannot have this group or repair; empty if nothing is wrong."""
    if group not in ("row", "matrix"):
        return "a program has a budget for each matrix: group is row or matrix"
    if repair_of(repair).layer:
        return "a program moves the weights by itself: repair is none or ebft"
    return ""


def with_proxy(recipe: Recipe, proxy: str) -> Recipe:
    """Replace the recipe's repair by the proxy, or by none for a program that cannot have it."""
    if recipe.metric.kind == "program" and program_fault(recipe.group, proxy):
        proxy = NONE
    return replace(recipe, repair=proxy)


@lru_cache(maxsize=1024)
def chain(text: str) -> str:
    """Return the names of all repairs in a text without parameters: ``walk:mrp``, ``mrp+ebft``."""
    walked = f"{WALK}:" if only_walks(repair_of(text)) else ""
    return walked + "+".join(part_names(text))


@lru_cache(maxsize=1024)
def part_names(text: str) -> tuple[str, ...]:
    """Return the names of all repairs in a text, without that of walking: ``none`` if empty."""
    names = (part.NAME for part in repair_of(text).parts)
    return tuple(name for name in names if name != WALK) or (NONE,)


def only_walks(repair: Repair) -> bool:
    """Whether a repair goes block by block, and not to tune the blocks, which its text implies."""
    return repair.walks and repair.block is None


def allocation_numbers(text: str, choices: Choices) -> dict[str, tuple[float, Range]]:
    """Return the tunable numbers of an allocation and their ranges by name, including defaults."""
    allocator = build_allocator(text)
    if isinstance(allocator, Formula):
        values = numbers_of(allocator.formula)
        return {f"c{index}": (value, _around(value)) for index, value in enumerate(values)}
    return _numbers(allocator, choices)


def _around(value: float) -> Range:
    """Range of a number of a formula; one that is larger than usual may still double."""
    low, high = FORMULA_RANGE
    return low, max(high, min(LARGEST_NUMBER, 2 * value))


def repair_numbers(text: str, choices: Choices) -> dict[str, tuple[float, Range]]:
    """Return the tunable numbers of a repair and their ranges; chains of layer repairs have none.

    Those of block tuning have a prefix, as in ``ebft.rate``; the others have just their name.
    """
    repair = repair_of(text)
    found = _numbers(repair.layer[0], choices) if len(repair.layer) == 1 else {}
    if repair.block is not None:
        tuned = _numbers(repair.block, choices)
        found |= {f"{repair.block.NAME}.{key}": number for key, number in tuned.items()}
    return found


def with_allocation_numbers(text: str, values: Mapping[str, float]) -> str:
    """Return the allocation with other numbers."""
    allocator = build_allocator(text)
    if isinstance(allocator, Formula):
        old = numbers_of(allocator.formula)
        new = [values.get(f"c{index}", value) for index, value in enumerate(old)]
        return canonical_allocation(f"{FORMULA}:{with_numbers(allocator.formula, new)}")
    return dataclasses.replace(allocator, **values).text


def with_repair_numbers(text: str, values: Mapping[str, float]) -> str:
    """Return the repair with other numbers."""
    repair = repair_of(text)
    layer, block = repair.layer, repair.block
    own = {name: value for name, value in values.items() if "." not in name}
    if own:
        layer = (dataclasses.replace(layer[0], **own),)
    if block is not None:
        rest: dict[str, Any] = {n.partition(".")[2]: v for n, v in values.items() if n not in own}
        block = dataclasses.replace(block, **rest)
    return dataclasses.replace(repair, layer=layer, block=block).text


def with_defaults(text: str, ranges: Ranges) -> str:
    """Return an allocation or repair with its first tunable number written out."""
    walk, _, rest = text.rpartition(f"{WALK}:")
    parts = []
    for part in rest.split("+") if walk or family(text) != FORMULA else [text]:
        name, colon, settings = part.partition(":")
        number = next(iter(ranges.get(name, {})), None)
        known = _defaults(name) if number is not None else {}
        if number is not None and number in known and f"{number}=" not in settings:
            part = f"{name}:{number}={known[number]:g}{',' if colon else ''}{settings}"
        parts.append(part)
    return f"{walk}{WALK}:{'+'.join(parts)}" if text.startswith(f"{WALK}:") else "+".join(parts)


def _defaults(name: str) -> dict[str, Any]:
    kind: Any = ALLOCATORS.get(name) if name in ALLOCATORS else REPAIRS.get(name)
    if name == EBFT:
        kind = BlockTuning
    return dict(kind.defaults())


def random_allocation(rng: Random, choices: Choices) -> str:
    """Draw a random family at a random strength."""
    return _of_family(rng.choice(list(choices.allocations)), rng, choices)


def mutated_allocation(text: str, rng: Random, choices: Choices) -> str:
    """Make one change: a strength, a term of a formula, or another family."""
    numbers = allocation_numbers(text, choices)
    roll = rng.random()
    if numbers and roll < 0.45:
        name = rng.choice(list(numbers))
        value, (low, high) = numbers[name]
        scaled = (value or 0.02) * math.exp(rng.gauss(0.0, 0.5))
        return with_allocation_numbers(text, {name: rounded(min(high, max(low, scaled)))})
    if FORMULA in choices.allocations and roll < 0.85:
        return _mutated_formula(_as_formula(text, rng, choices), rng, choices)
    others = [name for name in choices.allocations if name != family(text)]
    return _of_family(rng.choice(others or list(choices.allocations)), rng, choices)


def _of_family(name: str, rng: Random, choices: Choices) -> str:
    strength = rng.choice(STRENGTHS)
    if name == FORMULA:
        terms = drawn_terms(rng, choices.words, (strength, rng.choice(NUDGES)))
        return canonical_allocation(f"{FORMULA}:{terms}")
    ranges = choices.ranges.get(name, {})
    values = {key: min(high, max(low, strength)) for key, (low, high) in list(ranges.items())[:1]}
    return dataclasses.replace(build_allocator(name), **values).text


def drawn_terms(rng: Random, words: Sequence[str], strengths: Sequence[float]) -> str:
    """Draw an unbiased allocation formula: all words and both signs are equally likely."""
    chosen = rng.sample(list(words), min(len(words), len(strengths)))
    text = ""
    for strength, word in zip(strengths, chosen, strict=False):
        sign = rng.choice("+-")
        text += f" {sign} {strength} * {word}" if text else f"{sign}{strength} * {word}"
    return text.removeprefix("+")


def _as_formula(text: str, rng: Random, choices: Choices) -> str:
    allocator = build_allocator(text)
    if isinstance(allocator, Formula):
        return allocator.formula
    known = AS_FORMULA.get(allocator.NAME)
    if known is None:
        return drawn_terms(rng, choices.words, (rng.choice(STRENGTHS),))
    return f"{allocator.params[known[0]]:g} * {known[1]}"


def _mutated_formula(formula: str, rng: Random, choices: Choices) -> str:
    """Add a term, drop one, or exchange a descriptor."""
    tree = parse_allocation(formula)
    roll = rng.random()
    found = formula
    if isinstance(tree, ast.BinOp) and isinstance(tree.op, ast.Add | ast.Sub) and roll < 0.2:
        found = ast.unparse(rng.choice((tree.left, tree.right)))
    elif roll < 0.4:
        names = list(re.finditer(rf"\b(?:{'|'.join(DESCRIPTORS)})\b", formula))
        if names:
            place = rng.choice(names)
            word = rng.choice([name for name in choices.words if name != place[0]] or [place[0]])
            found = formula[: place.start()] + word + formula[place.end() :]
    elif len(numbers_of(formula)) < MOST_TERMS:
        sign, word = rng.choice(("+", "-")), rng.choice(list(choices.words))
        found = f"{formula} {sign} {rng.choice(NUDGES)} * {word}"
    try:
        return canonical_allocation(f"{FORMULA}:{found}")
    except UsageError:
        return canonical_allocation(f"{FORMULA}:{formula}")


def _numbers(part: TextForm, choices: Choices) -> dict[str, tuple[float, Range]]:
    ranges = choices.ranges.get(part.NAME, {})
    values = part.params
    return {name: (float(values[name]), ranges[name]) for name in ranges if name in values}


def rounded(value: float) -> float:
    """Round a number to three digits, as in recipes."""
    return float(f"{value:.3g}")
