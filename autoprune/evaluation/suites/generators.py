"""Seeded templated problems, from one addition to three steps, with exact answers.

Fresh items for every seed, so no model can have seen them; item ``i`` of a seed is the same however
many are drawn.
"""

import random
from collections.abc import Callable, Collection
from dataclasses import dataclass
from fractions import Fraction

from autoprune.digest import digest_json
from autoprune.errors import UsageError
from autoprune.registry import Registry
from autoprune.verify.templates import NAMES, THINGS


@dataclass(frozen=True)
class ReasoningItem:
    """One problem.

    Args:
        question: What is asked.
        solution: The worked steps, shown in examples only; empty for single steps.
        answer: The right answer, exact.
        steps: Operations needed.
    """

    question: str
    solution: str
    answer: str
    steps: int


Generator = Callable[[random.Random], ReasoningItem]
GENERATORS: Registry[Generator] = Registry("generator", "autoprune.generators")


def draw_items(
    name: str,
    count: int,
    seed: int,
    *,
    purpose: str = "test",
    excluded: Collection[str] = (),
) -> list[ReasoningItem]:
    """Items of one generator, all different."""
    generator = GENERATORS.get(name)
    items: dict[str, ReasoningItem] = {}
    for attempt in range(50 * count + 1000):
        if len(items) >= count:
            return list(items.values())
        item = generator(random.Random(digest_json([name, seed, purpose, attempt])))
        if item.question not in excluded:
            items.setdefault(item.question, item)
    if len(items) >= count:
        return list(items.values())
    besides = f" besides {len(excluded)} others" if excluded else ""
    raise UsageError(
        f"generator {name!r} made {len(items)} different items{besides}, {count} were asked; ask "
        "for fewer"
    )


@GENERATORS.register("digits")
def digits(rng: random.Random) -> ReasoningItem:
    """Sum or difference of two single digits, which models of 100M parameters partly know."""
    a, b = rng.randint(1, 9), rng.randint(1, 9)
    if rng.random() < 0.5:
        return ReasoningItem(f"What is {a} + {b}?", "", str(a + b), 1)
    return ReasoningItem(f"What is {a + b} - {b}?", "", str(a), 1)


@GENERATORS.register("addition")
def addition(rng: random.Random) -> ReasoningItem:
    """Sum of two numbers of one or two digits."""
    a, b = rng.randint(1, 49), rng.randint(1, 49)
    return ReasoningItem(f"What is {a} + {b}?", "", str(a + b), 1)


@GENERATORS.register("subtraction")
def subtraction(rng: random.Random) -> ReasoningItem:
    """Difference of two numbers, never negative."""
    b, c = rng.randint(1, 49), rng.randint(1, 49)
    return ReasoningItem(f"What is {b + c} - {b}?", "", str(c), 1)


@GENERATORS.register("multiplication")
def multiplication(rng: random.Random) -> ReasoningItem:
    """Product of two small numbers."""
    a, b = rng.randint(2, 12), rng.randint(2, 12)
    return ReasoningItem(f"What is {a} * {b}?", "", str(a * b), 1)


@GENERATORS.register("fractions")
def fractions(rng: random.Random) -> ReasoningItem:
    """Sum of two fractions; any equivalent form of the answer is right."""
    a, b = (Fraction(rng.randint(1, 9), rng.randint(2, 9)) for _ in range(2))
    return ReasoningItem(f"What is {a} + {b}?", "", str(a + b), 2)


@GENERATORS.register("sequence")
def sequence(rng: random.Random) -> ReasoningItem:
    """Next number of an arithmetic progression."""
    start, step = rng.randint(1, 40), rng.randint(2, 12)
    shown = ", ".join(str(start + i * step) for i in range(4))
    return ReasoningItem(f"Which number comes next: {shown}?", "", str(start + 4 * step), 2)


@GENERATORS.register("chain")
def chain(rng: random.Random) -> ReasoningItem:
    """Three additions and subtractions, one after the other."""
    total = rng.randint(5, 20)
    text, lines = str(total), []
    for _ in range(3):
        amount = rng.randint(1, 9)
        sign = "-" if amount <= total and rng.random() < 0.5 else "+"
        after = total - amount if sign == "-" else total + amount
        lines.append(f"{total} {sign} {amount} = {after}.")
        text, total = f"{text} {sign} {amount}", after
    return ReasoningItem(f"What is {text}?", " ".join(lines), str(total), 3)


@GENERATORS.register("story")
def story(rng: random.Random) -> ReasoningItem:
    """A short story of two or three changes to a count."""
    name, thing = rng.choice(NAMES), rng.choice(THINGS)
    have, more = rng.randint(2, 20), rng.randint(2, 20)
    given = rng.randint(1, have + more - 1)
    left = have + more - given
    question = f"{name} has {have} {thing}, gets {more} more and gives {given} away."
    solution = f"{have} + {more} = {have + more}. {have + more} - {given} = {left}."
    if rng.random() < 0.5:
        return ReasoningItem(f"{question} How many {thing} are left?", solution, str(left), 2)
    times = rng.randint(2, 5)
    question += f" A friend has {times} times as many as are left. How many has the friend?"
    return ReasoningItem(
        question, f"{solution} {times} * {left} = {times * left}.", str(times * left), 3
    )
