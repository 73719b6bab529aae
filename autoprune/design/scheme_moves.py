"""Moves of a search on schemes: families, changeable parameters, changes without an LLM."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from random import Random

from autoprune.candidate import Candidate
from autoprune.errors import UsageError
from autoprune.schemes import SCHEMES, Scheme, build_scheme, parts_of

# Text parameters have no list of values; these make sense for any number of blocks.
WRITTEN: Mapping[str, Mapping[str, Sequence[str]]] = {
    "depth": {"protect": ("auto", "none", "1-0", "0-1", "1-1", "2-1", "2-2", "4-2")}
}
# Learning which units to keep takes thousands of steps per candidate.
LEFT_OUT: Mapping[str, Sequence[str]] = {"width": ("search",)}
OTHER_FAMILY = 0.2

Genes = dict[tuple[str, str], Sequence[str]]


def candidate_of(scheme: Scheme) -> Candidate:
    """Make a candidate from a scheme, for use in a recipe."""
    return Candidate("scheme", scheme.text)


def family_of(scheme: Scheme) -> str:
    """Return the names of the parts: ``depth+width``."""
    return "+".join(part.NAME for part in parts_of(scheme))


def genes_of(family: str) -> Genes:
    """Return the values of all parameters that a search may change, by part and parameter."""
    found: Genes = {}
    for name in family.split("+"):
        values = {**SCHEMES.get(name).allowed(), **WRITTEN.get(name, {})}
        known = SCHEMES.get(name).defaults()
        for key in known:
            if key in values and key not in LEFT_OUT.get(name, ()):
                found[name, key] = values[key]
    return found


def scheme_from(family: str, values: Mapping[tuple[str, str], str], like: str = "") -> Scheme:
    """Make a scheme of a family.

    Args:
        family: Names of the parts.
        values: Values of some parameters, by part and name.
        like: Text of a scheme that provides the other values; parts that it lacks have defaults.
    """
    before = {part.NAME: part for part in parts_of(build_scheme(like))} if like else {}
    texts = []
    for name in family.split("+"):
        part = before.get(name) or build_scheme(name)
        settings = {k: _written(v) for k, v in part.params.items() if v is not None}
        settings |= {key: value for (owner, key), value in values.items() if owner == name}
        texts.append(f"{name}:{','.join(f'{key}={value}' for key, value in settings.items())}")
    return build_scheme("+".join(texts))


def values_of(scheme: Scheme) -> dict[tuple[str, str], str]:
    """Return this scheme's values of the parameters that :func:`genes_of` lists."""
    parts = {part.NAME: part.params for part in parts_of(scheme)}
    return {gene: _written(parts[gene[0]][gene[1]]) for gene in genes_of(family_of(scheme))}


def random_scheme(rng: Random, families: Sequence[str]) -> Candidate:
    """Draw a family and all its parameters at random."""
    family = rng.choice(list(families))
    genes = genes_of(family).items()
    return candidate_of(scheme_from(family, {gene: rng.choice(list(v)) for gene, v in genes}))


def mutated_scheme(metric: Candidate, rng: Random, families: Sequence[str]) -> Candidate:
    """Change one parameter, or the family while keeping the common parts."""
    scheme = build_scheme(metric.source)
    family = family_of(scheme)
    others = [name for name in families if name != family]
    if others and rng.random() < OTHER_FAMILY:
        return candidate_of(scheme_from(rng.choice(others), {}, metric.source))
    now = values_of(scheme)
    gene = rng.choice(list(now))
    value = rng.choice([v for v in genes_of(family)[gene] if v != now[gene]])
    return candidate_of(scheme_from(family, {gene: value}, metric.source))


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
        usual = values_of(build_scheme(family))
        ordered = [dict.fromkeys((usual[gene], *values)) for gene, values in genes.items()]
        for values in product(*ordered):
            yield candidate_of(scheme_from(family, dict(zip(genes, values, strict=True))))


def read_scheme(text: str, families: Sequence[str]) -> Candidate:
    """Read a scheme written by a designer.

    Raises:
        UsageError: If its family is not in the search, or it changes a fixed parameter.
    """
    scheme = build_scheme(text)
    family = family_of(scheme)
    if family not in families:
        raise UsageError(f"scheme is one of: {', '.join(families)}, with parameters")
    if scheme != scheme_from(family, values_of(scheme)):
        raise UsageError(f"parameters of {family} that may change: {genes_text(family)}")
    return candidate_of(scheme)


def genes_text(family: str) -> str:
    """List the parameters of a family with their values, for prompts and errors."""
    return "; ".join(
        f"{part}:{key}={'|'.join(values)}" for (part, key), values in genes_of(family).items()
    )


def _written(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
