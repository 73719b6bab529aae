"""Worked solutions in steps, each right or wrong: templated, seeded, with exact labels.

A step is wrong if it does not follow from the question and the steps before it as written. Later
steps continue from what is written, as a model's chain does, and are judged on their own. Source
of the task: UHeads, arXiv 2511.06209, whose labels come from a larger model.
"""

import operator
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from autoprune.digest import digest_json
from autoprune.errors import UsageError
from autoprune.verify.templates import NAMES, TEST, THINGS, TRAIN, Template

Part = Literal["train", "test"]
ANSWER = "Answer:"
# Default share of wrong steps.
CORRUPTED = 0.35
OPERATIONS: Mapping[str, Callable[[int, int], int]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
}
_EQUATION = re.compile(r"\[(\w+) ([-+*]) (\w+)\]")
_LARGEST = 999
_SLIPS = (-10, -3, -2, -1, 1, 2, 3, 10)
_TRIES = 10_000


@dataclass(frozen=True)
class Chain:
    """A worked problem.

    Args:
        question: What is asked.
        steps: One line each.
        right: Whether each step is right; empty if unknown.
        family: Family of its template.
    """

    question: str
    steps: tuple[str, ...]
    right: tuple[bool, ...] = ()
    family: str = ""

    @property
    def prompt(self) -> str:
        """The text before the steps."""
        return prompt_of(self.question)


def prompt_of(question: str) -> str:
    """The text before the steps of a solution; each step is a separate line."""
    return f"Question: {question}\nSolution:"


def draw_chains(
    count: int, seed: int, *, part: Part = "train", corrupted: float = CORRUPTED
) -> list[Chain]:
    """Chains of one part's templates; the two parts share no family and no template.

    Args:
        count: Number of chains.
        seed: Seed; the same seed gives the same chains on every machine.
        part: ``train`` or ``test``.
        corrupted: Share of wrong steps over all chains, met to the step.

    Raises:
        UsageError: If the count is below 1 or the share is not from 0 to 1.
    """
    if count < 1 or not 0.0 <= corrupted <= 1.0:
        raise UsageError(
            f"{count} chains with a share of {corrupted:g} wrong steps is not possible; give at "
            "least 1 chain and a share from 0 to 1"
        )
    rng = random.Random(digest_json(["chains", seed, part]))
    templates = TRAIN if part == "train" else TEST
    chosen = [rng.choice(templates) for _ in range(count)]
    # The answer is a step too.
    places = [(n, step) for n, one in enumerate(chosen) for step in range(len(one.steps) + 1)]
    wrong = set(rng.sample(places, round(corrupted * len(places))))
    return [
        _written(template, [(n, s) in wrong for s in range(len(template.steps) + 1)], rng)
        for n, template in enumerate(chosen)
    ]


def _written(template: Template, wrong: Sequence[bool], rng: random.Random) -> Chain:
    # Where the errors are is settled first, so that no draw of numbers changes their share.
    for _ in range(_TRIES):
        made = _attempt(template, wrong, rng)
        if made is not None:
            return made
    raise AssertionError(f"no numbers fit the template {template.question!r}")


def _attempt(template: Template, wrong: Sequence[bool], rng: random.Random) -> Chain | None:
    """A chain, or None where a number leaves its range."""
    values = {letter: rng.randint(3, 40) for letter in "abcd"}
    values |= {letter: rng.randint(2, 6) for letter in "km"}
    words = {"name": rng.choice(NAMES), "thing": rng.choice(THINGS)}
    question = template.question.format(**values, **words)
    seen = set(numbers_in(question))
    lines = []
    for number, step in enumerate(template.steps, 1):
        found = _EQUATION.search(step)
        assert found is not None, step
        left, sign, right = values[found[1]], found[2], values[found[3]]
        slip = wrong[number - 1] and rng.random() < 0.5
        if wrong[number - 1] and not slip:
            strange = rng.choice([n for n in range(2, 60) if n not in seen])
            left, right = (strange, right) if rng.random() < 0.5 else (left, strange)
        result = OPERATIONS[sign](left, right)
        if slip:
            result += rng.choice(_SLIPS)
        if not 0 <= result <= _LARGEST:
            return None
        values[f"r{number}"] = result
        seen.add(result)
        equation = f"{left} {sign} {right} = {result}"
        lines.append(step.replace(found[0], equation).format(**values, **words))
    if wrong[-1]:
        others = sorted(n for n in seen | {abs(result + s) for s in _SLIPS} if n != result)
        result = rng.choice(others)
    lines.append(f"{ANSWER} {result}")
    return Chain(question, tuple(lines), tuple(not one for one in wrong), template.family)


def numbers_in(text: str) -> list[int]:
    """Whole numbers of a text, in order."""
    return [int(digits) for digits in re.findall(r"\d+", text)]
