"""Moves of a search on schemes: families, changeable parameters, changes without an LLM."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from random import Random

from autoprune.allocation import Given, build_allocator
from autoprune.candidate import Candidate
from autoprune.design.parts import (
    FORMULA,
    NUDGES,
    Choices,
    mutated_allocation,
    random_allocation,
)
from autoprune.errors import UsageError
from autoprune.schemes import SCHEMES, Scheme, Width, build_scheme, parts_of
from autoprune.schemes.width import UNIFORM, unbracketed

# Text parameters have no list of values; these make sense for any number of blocks.
WRITTEN: Mapping[str, Mapping[str, Sequence[str]]] = {
    "depth": {"protect": ("auto", "none", "1-0", "0-1", "1-1", "2-1", "2-2", "4-2")}
}
# Learning which units to keep takes thousands of steps per candidate.
LEFT_OUT: Mapping[str, Sequence[str]] = {"width": ("search",)}
# A value that searches by itself costs as much as many candidates; a start may have it.
NOT_PROPOSED: Mapping[tuple[str, str], Sequence[str]] = {("depth", "criterion"): ("search",)}
OTHER_FAMILY = 0.2
# Schemes with rates by block are a family of their own, "width:rates", so that they are proposed
# only where a start has rates. A move changes numbers and words of these texts.
RATES = "rates"
SPREADS = (
    "ramp",
    "ramp:half_width=0.05",
    "ramp:half_width=0.2",
    "(ramp:half_width=0.2,relax_last=1)",
    "sdsa",
    "formula:-0.1 * depth",
    "formula:-0.2 * first - 0.2 * last",
)
# Words that differ from block to block and are known without running the model.
BLOCK_WORDS = ("depth", "first", "last", "tail", "skew")

Genes = dict[tuple[str, str], Sequence[str]]


def candidate_of(scheme: Scheme) -> Candidate:
    """Make a candidate from a scheme, for use in a recipe."""
    return Candidate("scheme", scheme.text)


def family_of(scheme: Scheme) -> str:
    """Return the names of the parts: ``depth+width``; ``depth+width:rates`` if rates are set."""
    return "+".join(f"{p.NAME}:{RATES}" if _rated(p) else p.NAME for p in parts_of(scheme))


def genes_of(family: str) -> Genes:
    """Return the values of all parameters that a search may change, by part and parameter."""
    found: Genes = {}
    for part in family.split("+"):
        name, _, rates = part.partition(":")
        values = {**SCHEMES.get(name).allowed(), **WRITTEN.get(name, {})}
        values |= {RATES: SPREADS} if rates else {}
        known = SCHEMES.get(name).defaults()
        for key in known:
            if key in values and key not in LEFT_OUT.get(name, ()):
                unwanted = NOT_PROPOSED.get((name, key), ())
                found[name, key] = [value for value in values[key] if value not in unwanted]
    return found


def scheme_from(family: str, values: Mapping[tuple[str, str], str], like: str = "") -> Scheme:
    """Make a scheme of a family."""
    before = {part.NAME: part for part in parts_of(build_scheme(like))} if like else {}
    texts = []
    for named in family.split("+"):
        name, _, rates = named.partition(":")
        part = before.get(name) or build_scheme(name)
        settings = {k: _written(v) for k, v in part.params.items() if v is not None}
        if _rated(part) != bool(rates):
            settings[RATES] = SPREADS[0] if rates else UNIFORM
        settings |= {key: value for (owner, key), value in values.items() if owner == name}
        texts.append(f"{name}:{','.join(f'{key}={value}' for key, value in settings.items())}")
    return build_scheme("+".join(texts))


def values_of(scheme: Scheme) -> dict[tuple[str, str], str]:
    """Return this scheme's values of the parameters that :func:`genes_of` lists."""
    parts = {part.NAME: part.params for part in parts_of(scheme)}
    return {gene: _written(parts[gene[0]][gene[1]]) for gene in genes_of(family_of(scheme))}


def random_scheme(rng: Random, choices: Choices) -> Candidate:
    """Draw a family and all its parameters at random; rates as mutation may make them."""
    family = rng.choice(list(choices.schemes))
    values = {gene: rng.choice(list(known)) for gene, known in genes_of(family).items()}
    if (Width.NAME, RATES) in values:
        values[Width.NAME, RATES] = f"({random_allocation(rng, _rates_choices(choices))})"
    return candidate_of(scheme_from(family, values))


def mutated_scheme(metric: Candidate, rng: Random, choices: Choices) -> Candidate:
    """Change one parameter, or the family while keeping the common parts."""
    scheme = build_scheme(metric.source)
    family = family_of(scheme)
    others = [name for name in choices.schemes if name != family]
    if others and rng.random() < OTHER_FAMILY:
        return candidate_of(scheme_from(rng.choice(others), {}, metric.source))
    now = values_of(scheme)
    gene = rng.choice(list(now))
    if gene == (Width.NAME, RATES):
        value = _mutated_rates(now[gene], rng, choices)
    else:
        value = rng.choice([v for v in genes_of(family)[gene] if v != now[gene]])
    return candidate_of(scheme_from(family, {gene: value}, metric.source))


def _mutated_rates(rates: str, rng: Random, choices: Choices) -> str:
    """Move some of one block's share to another, or change rates as budgets of layers are."""
    allocator = build_allocator(unbracketed(rates))
    if isinstance(allocator, Given) and len(allocator.shares) > 1:
        shares = list(allocator.shares)
        giver, taker = rng.sample(range(len(shares)), 2)
        moved = min(rng.choice(NUDGES), shares[giver], 1.0 - shares[taker])
        shares[giver] -= moved
        shares[taker] += moved
        return replace(allocator, shares=tuple(shares)).text
    return f"({mutated_allocation(allocator.text, rng, _rates_choices(choices))})"


def _rates_choices(choices: Choices) -> Choices:
    """Budgets of layers that are known by block without running the model."""
    words = [word for word in BLOCK_WORDS if word in choices.words]
    families = ("ramp", "sdsa", *([FORMULA] if words else []))
    return replace(choices, allocations=families, words=words)


def crossed_schemes(first: Candidate, second: Candidate, rng: Random) -> Candidate:
    """Cross two schemes: the first one's family, with common parameters taken from either."""
    one, other = build_scheme(first.source), build_scheme(second.source)
    theirs = values_of(other)
    taken = {gene: theirs[gene] for gene in values_of(one) if gene in theirs and rng.random() < 0.5}
    return candidate_of(scheme_from(family_of(one), taken, first.source))


def all_schemes(families: Sequence[str]) -> Iterator[Candidate]:
    """Yield every scheme of the families, those with default values first."""
    for family in families:
        genes = genes_of(family)
        usual = values_of(scheme_from(family, {}))
        ordered = [dict.fromkeys((usual[gene], *values)) for gene, values in genes.items()]
        for values in product(*ordered):
            yield candidate_of(scheme_from(family, dict(zip(genes, values, strict=True))))


def read_scheme(text: str, families: Sequence[str]) -> Candidate:
    """Read a scheme written by a designer."""
    scheme = build_scheme(text)
    family = family_of(scheme)
    if family not in families:
        known = ", ".join(map(usual_text, families))
        raise UsageError(f"scheme is one of: {known}, with parameters")
    if scheme != scheme_from(family, values_of(scheme)):
        raise UsageError(f"parameters of {family} that may change: {genes_text(family)}")
    return candidate_of(scheme)


def usual_text(family: str) -> str:
    """Text of a family's scheme with usual values."""
    return scheme_from(family, {}).text


def genes_text(family: str) -> str:
    """List the parameters of a family with their values, for prompts and errors."""
    return "; ".join(
        f"{part}:{key}={'|'.join(values)}" for (part, key), values in genes_of(family).items()
    )


def _rated(part: Scheme) -> bool:
    return isinstance(part, Width) and part.rates != UNIFORM


def _written(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
