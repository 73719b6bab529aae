"""What a comparison is asked for, as text, read and checked before anything expensive happens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autoprune.candidate import StatisticsOf
from autoprune.comparison.measuring import reads_text
from autoprune.comparison.methods import Method, on_texts, parse_method, parse_methods
from autoprune.comparison.plan import Target, parse_targets
from autoprune.comparison.result import named_baselines


@dataclass(frozen=True)
class Request:
    """Methods, budgets and baselines that a comparison can be made of.

    Args:
        methods: The methods, on each text that they read.
        targets: The budgets.
        baselines: Names of the methods that changes are relative to, or ``dense``.
    """

    methods: tuple[Method, ...]
    targets: tuple[Target, ...]
    baselines: tuple[str, ...]


def parse_request(
    methods: Sequence[str],
    statistics: StatisticsOf = "dense",
    sparsities: Sequence[float] = (),
    patterns: Sequence[str] = (),
    baselines: Sequence[str] = (),
    texts: Sequence[str] = (),
    units: Mapping[str, Sequence[float]] = {},
) -> Request:
    """Read every method, budget and baseline."""
    found = on_texts(parse_methods(methods, statistics), texts, reads_text)
    names = [method.name for method in found]
    targets = parse_targets(sparsities, patterns, units)
    # As their names read, by which tables and records know them.
    same = tuple(map(parse_method, names))
    return Request(same, targets, tuple(named_baselines(baselines, names, statistics)))
