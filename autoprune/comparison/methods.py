"""Methods to compare: a recipe (see :mod:`autoprune.recipe_text`), a scheme or another tool.

``RECIPE@NAME`` is the same recipe, calibrated on the text of that name.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from autoprune.allocation.selection import UNIFORM
from autoprune.bench.smaller import Shrinking
from autoprune.candidate import Candidate, StatisticsOf
from autoprune.errors import UnknownNameError, UsageError
from autoprune.recipe import Recipe
from autoprune.recipe_text import RecipeText, read_recipe
from autoprune.repair import EBFT, RECOVER
from autoprune.spelling import split_list, split_outside, split_text

PEER = "llm-compressor"
PEER_METHODS = ("wanda", "sparsegpt")
# Names in records, which keep those of earlier versions.
_RECORDED = {"repair": "solver"}


@dataclass(frozen=True)
class Method(RecipeText):
    """One row of a comparison.

    Args:
        peer: Other tool that runs ``metric`` in its own environment.
        calibration: Name of the calibration text; empty: the compared text's own part.
        scheme: Text of the scheme that makes the model smaller, repeated in ``metric``. Empty: the
            method is a recipe.
    """

    peer: str | None = None
    calibration: str = ""
    scheme: str = ""

    @property
    def name(self) -> str:
        """Shortest spelling that :func:`parse_method` reads back."""
        # Methods of schemes and peers have no recipe text.
        own = self.scheme or (self.text if self.peer is None else f"{self.peer}:{self.metric}")
        return f"{own}@{self.calibration}" if self.calibration else own

    @property
    def stochastic(self) -> bool:
        """Whether the seed matters beyond the draw of calibration windows.

        It also determines random scores and the order of tuning steps.
        """
        return "random" in self.metric or self.tunes

    @property
    def tunes(self) -> bool:
        """Whether blocks or the model are trained, with products that the processor may round."""
        return any(name in self.repair + self.scheme for name in (EBFT, RECOVER))

    def recipe(self, seed: int = 0) -> Recipe:
        """What prunes; the random control differs for every seed."""
        text = f"random:seed={seed}" if self.metric == "random" else self.metric
        own = Candidate.parse(text, self.source)
        return Recipe(own, self.group, self.allocation, self.repair, self.statistics)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON form; its names, and that empty texts are left out, are those of records."""
        found = {_RECORDED.get(name, name): value for name, value in asdict(self).items()}
        for name in ("calibration", "scheme", "source"):
            if not found[name]:
                del found[name]
        return found

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Method":
        """Inverse of :meth:`to_json`."""
        names = {recorded: name for name, recorded in _RECORDED.items()}
        return cls(**{names.get(key, key): found for key, found in value.items()})


def parse_method(text: str, statistics: StatisticsOf = "dense") -> Method:
    """Read one method."""
    text, calibration = split_text(text)
    peer, _, rest = text.partition(":")
    if peer.strip() == PEER:
        return replace(_peer_method(text, rest), calibration=calibration)
    if Shrinking.names(text):
        scheme = Shrinking.parse(text).text
        return Method(metric=scheme, scheme=scheme, calibration=calibration)
    return Method(**asdict(read_recipe(text, statistics)), calibration=calibration)


def parse_methods(
    texts: str | Iterable[str], statistics: StatisticsOf = "dense"
) -> tuple[Method, ...]:
    """Read a list of methods, dropping repeats and keeping the given order."""
    items = split_list(texts) if isinstance(texts, str) else list(texts)
    methods = tuple(dict.fromkeys(parse_method(item, statistics) for item in items))
    if not methods:
        raise UsageError("no method to compare; name at least one, for example wanda,wanda+ramp")
    return methods


def on_texts(
    methods: Sequence[Method], texts: Sequence[str], reads_text: Callable[[Method], bool]
) -> tuple[Method, ...]:
    """Cross the methods with the calibration texts, grouped by text."""
    for method in methods:
        if method.calibration and method.calibration not in texts:
            raise UsageError(
                f"the method {method.name!r} names the calibration text {method.calibration!r}, "
                f"which is not given; known: {', '.join(texts) or 'none'}; add "
                f"--calibration-text {method.calibration}=REF"
            )
    if not texts:
        return tuple(methods)
    reading = [method for method in methods if reads_text(method)]
    made = [replace(method, calibration="") for method in methods if method not in reading]
    for text in texts:
        made += [replace(m, calibration=text) for m in reading if m.calibration in ("", text)]
    return tuple(dict.fromkeys(made))


def crossed(
    metrics: Sequence[str], allocations: Sequence[str], repairs: Sequence[str]
) -> list[str]:
    """Return the texts of all combinations; an empty list means the part's default."""
    texts = []
    for metric in metrics:
        for allocation in allocations or [UNIFORM]:
            texts += ["+".join(filter(None, (metric, allocation, r))) for r in repairs or [""]]
    return texts


def with_allocation(method: Method, allocation: str) -> Method:
    """Return the same method with another allocation of layer budgets."""
    return replace(method, allocation=allocation)


def _peer_method(text: str, rest: str) -> Method:
    own, *parts = split_outside(rest, "+")
    if own not in PEER_METHODS:
        raise UnknownNameError(f"method of {PEER}", own, PEER_METHODS)
    if parts:
        raise UsageError(f"method {text!r}: {PEER} takes no further parts; write {PEER}:{own}")
    return Method(metric=own, peer=PEER, statistics="sequential")
