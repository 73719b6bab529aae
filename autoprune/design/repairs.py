"""Repairs that a designer may write: the allowed ones, with numbers within bounds."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from random import Random
from typing import Any

from autoprune.design.parts import Range, Ranges, canonical_repair, family, only_walks, repair_of
from autoprune.errors import UsageError
from autoprune.repair import (
    EBFT,
    NONE,
    WALK,
    BlockTuning,
    LayerRepair,
    ModelRecovery,
    Repair,
    RepairPart,
)

# Bounds in addition to the tunable ranges, for integers whose every step costs minutes.
LIMITS: Ranges = {EBFT: {"epochs": (1, 4)}}
# Texts for prompts; a plug-in is described by the first line of its docstring.
MEANINGS = {
    "none": "leaves the other weights as they are",
    "sparsegpt": "moves the weights that stay of a row, column by column, to make up for each loss",
    "mrp": "fits the weights that stay of each row anew by least squares",
    "alps": "looks for a better mask and fits the weights of each row",
    "dsnot": "swaps removed and kept weights of a row and moves none",
    "sparseswaps": "swaps removed and kept weights one by one and moves none",
    EBFT: "tunes the weights that stay of a whole block by gradient descent, which takes minutes",
}
OWN_MASK = "and chooses which weights go: the metric decides nothing"
DIGITS = (1, 2, 5)
LONGEST_REPAIR = 200


def read_repair(text: str, allowed: Sequence[str], ranges: Ranges) -> str:
    """Return the canonical text of an allowed repair."""
    choices = f"repair is one of: {', '.join(allowed)}"
    if len(text) > LONGEST_REPAIR:
        raise UsageError(
            f"the repair has {len(text)} characters; at most {LONGEST_REPAIR}; {choices}"
        )
    try:
        wanted = repair_of(text)
    except UsageError as error:
        known = {word for choice in allowed for word in _names(choice)}
        raise error if _names(text) <= known else UsageError(choices) from None
    wrong = ""
    for choice in allowed:
        problem = _difference(wanted, repair_of(choice), ranges)
        if problem == "":
            return wanted.text
        wrong = wrong or problem or ""
    raise UsageError(wrong or f"{choices}{_numbers(allowed, ranges)}")


def compositions(allowed: Sequence[str]) -> list[str]:
    """Compose two allowed repairs: one for the mask, the other for the weights.

    Leaves out compositions that discard work of either, or that are allowed already.
    """
    known = [canonical_repair(text) for text in allowed]
    single = [text for text in known if _is_single(repair_of(text))]
    found = []
    for first in single:
        for second in single:
            if family(first) == family(second):
                continue
            try:
                found.append(canonical_repair(f"{first}+{second}"))
            except UsageError:
                continue
    return [text for text in dict.fromkeys(found) if text not in known]


def _is_single(repair: Repair) -> bool:
    return repair.acts and not only_walks(repair) and len(repair.layer) <= 1


def meaning(text: str) -> str:
    """Describe a repair on one line."""
    repair = repair_of(text)
    parts = [part for part in repair.parts if part.NAME != WALK]
    found = [
        MEANINGS.get(part.NAME, part.summary().rstrip("."))
        + (f" {OWN_MASK}" if part.params.get("select") == "own" else "")
        for part in parts
    ]
    walked = text.startswith(f"{WALK}:")
    before = "block by block, with the inputs that the pruned model gives: " if walked else ""
    return before + (", then ".join(found) or MEANINGS[NONE])


def repair_forms(allowed: Sequence[str], ranges: Ranges) -> list[str]:
    """Return all repairs for a grammar: as they are, and with round numbers within bounds."""
    repairs = [repair_of(text) for text in allowed]
    found = [repair.text for repair in repairs]
    for repair in repairs:
        found += _numbered(repair, ranges)
    return list(dict.fromkeys(found))


def example(allowed: Sequence[str], ranges: Ranges, rng: Random) -> str:
    """Draw a repair with a changed number; empty if no number may be changed."""
    others = [
        form
        for repair in map(repair_of, allowed)
        for form in _numbered(repair, ranges)
        if form != repair.text and "=" in form
    ]
    return rng.choice(others) if others else ""


def _difference(wanted: Repair, choice: Repair, ranges: Ranges) -> str | None:
    """Return an empty text if allowed, None for another repair, else what is wrong."""
    if [type(part) for part in wanted.parts] != [type(part) for part in choice.parts]:
        return None
    for one, other in zip(wanted.parts, choice.parts, strict=True):
        bounds = _bounds(one.NAME, ranges)
        for name, value in one.params.items():
            known = other.params[name]
            if value == known:
                continue
            if name not in bounds:
                return None
            low, high = bounds[name]
            if not min(low, known) <= value <= max(high, known):
                return f"repair {one.NAME}: {name}={value:g} must be {low:g} to {high:g}"
    return ""


def _bounds(name: str, ranges: Ranges) -> dict[str, Range]:
    return {**LIMITS.get(name, {}), **ranges.get(name, {})}


def _names(text: str) -> set[str]:
    pieces = text.strip().removeprefix(f"{WALK}:").split("+")
    return {piece.partition(":")[0].strip() for piece in pieces}


def _numbers(allowed: Sequence[str], ranges: Ranges) -> str:
    found = {}
    for part in (part for text in allowed for part in repair_of(text).parts):
        for name, (low, high) in _bounds(part.NAME, ranges).items():
            found[f"{part.NAME}:{name}"] = f"{low:g} to {high:g}"
    listed = ", ".join(f"{name} {span}" for name, span in found.items())
    return f"; numbers: {listed}" if listed else ""


def _numbered(repair: Repair, ranges: Ranges) -> Iterator[str]:
    """Yield the repair with other values of its last part's first number."""
    for part in repair.parts[-1:]:
        for name, (low, high) in list(_bounds(part.NAME, ranges).items())[:1]:
            for value in _grid(low, high, whole=isinstance(part.params[name], int)):
                number: dict[str, Any] = {name: value}
                yield _with_last(repair, replace(part, **number)).text


def _with_last(repair: Repair, part: RepairPart) -> Repair:
    """Return the repair with another part at its end."""
    if isinstance(part, ModelRecovery):
        return replace(repair, recovery=part)
    if isinstance(part, BlockTuning):
        return replace(repair, block=part)
    assert isinstance(part, LayerRepair)
    return replace(repair, layer=(*repair.layer[:-1], part))


def _grid(low: float, high: float, *, whole: bool) -> list[float]:
    """Return 1, 2, 5, 10, ... at any scale within the bounds, or all whole numbers."""
    if whole:
        return list(range(int(low), int(high) + 1))
    sizes = (digit * 10.0**power for power in range(-6, 3) for digit in DIGITS)
    return [float(f"{size:g}") for size in sizes if low <= size <= high]
