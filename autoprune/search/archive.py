"""What the search knows of each candidate, folded from recorded outcomes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from autoprune.allocation.selection import UNIFORM
from autoprune.design.parsing import Prediction
from autoprune.recipe import Recipe
from autoprune.search.moves import mask_key
from autoprune.search.paired import Difference, paired_difference
from autoprune.search.steps import Measurement, Validation
from autoprune.search_settings import Verdict

Fitness = Literal["perplexity", "kl", "both"]
Status = Literal["proposed", "valid", "measured", "duplicate", "rejected"]


@dataclass
class Entry:
    """One recipe of a search, as it stands: a baseline, or one attempt of a designer.

    It changes with every step. Readers of the run's record get a
    :class:`autoprune.report.data.ReportEntry`, which :mod:`autoprune.report.gathering` alone makes.

    Args:
        alias: Unique in the run; baselines are named by their parts, candidates ``C1``, ``C2``.
        order: Position in order of design, from 1; 0 for baselines.
        recipe: None when the answer could not be read.
        formula: The metric as text for people and prompts.
        parents: Aliases of the entries it was made from.
        repaired: Alias of the failed attempt that this one repairs.
        duplicate_of: Alias of the older entry whose result it shares.
        code: Why it was rejected or is a duplicate; empty otherwise.
        results: Measurements by rung; a duplicate holds its owner's.
        few: Windows of the first rung; its result grows when the entry goes on from there.
        direct: Few windows and masks alone cannot judge it: it goes to all if time allows.
        proxied: The first rung measured the masks with the proxy's repair instead of the recipe's.
        shortened: On the first rung its program pruned with fewer calibration windows.
        elsewhere: Measurements at other sparsities.
        fails_elsewhere: It could not be measured at one of them, so it cannot be the best.
        draws: Measurements with other draws of calibration text.
        sealed: Measurement on the sealed split.
        unsealed: Why it has none although it should, as code and detail; empty otherwise.
        change: Paired difference in loss to the reference at the highest rung.
        unfinished: Time was too short to measure it further, and it is not tried again.
        whole_seconds: The part of ``seconds`` that the last rung took.
        ranked: Paired difference to the reference in the ranking fitness; None: ``change`` ranks.
        model: Model that was asked for it, if there are several; None: the only one, or none.
    """

    alias: str
    order: int
    operator: str
    recipe: Recipe | None
    formula: str = ""
    because: str = ""
    prediction: Prediction | None = None
    generation: int = 0
    slot: int = 0
    parents: tuple[str, ...] = ()
    repaired: str | None = None
    status: Status = "proposed"
    code: str = ""
    detail: str = ""
    duplicate_of: str | None = None
    validation: Validation | None = None
    results: dict[int, Measurement] = field(default_factory=dict)
    few: int = 0
    direct: bool = False
    proxied: bool = False
    shortened: bool = False
    elsewhere: dict[float, Measurement] = field(default_factory=dict)
    fails_elsewhere: bool = False
    draws: dict[int, Measurement] = field(default_factory=dict)
    sealed: Measurement | None = None
    unsealed: str = ""
    unfinished: bool = False
    change: Difference | None = None
    ranked: Difference | None = None
    seconds: float = 0.0
    whole_seconds: float = 0.0
    tokens: int = 0
    model: str | None = None

    @property
    def budget(self) -> Mapping[str, Any]:
        """How its scheme reaches a budget in bytes or speed; empty otherwise."""
        return {} if self.validation is None else self.validation.budget

    @property
    def known_recipe(self) -> Recipe:
        """The recipe of an entry whose answer could be read."""
        assert self.recipe is not None
        return self.recipe

    @property
    def is_baseline(self) -> bool:
        """Whether it is hand-made."""
        return self.order == 0

    @property
    def rung(self) -> int:
        """Highest rung measured, 0 for none."""
        return max(self.results, default=0)

    @property
    def measurement(self) -> Measurement | None:
        """Measurement at the highest rung."""
        return self.results.get(self.rung)

    @property
    def is_program(self) -> bool:
        """Whether its recipe prunes by a program, not by scores."""
        return self.recipe is not None and self.recipe.metric.kind == "program"

    @property
    def score(self) -> float:
        """Ranking score: mean difference of fitness to the reference; lower is better."""
        found = self.ranked or self.change
        return found.mean if found is not None else 0.0

    @property
    def whole(self) -> Measurement | None:
        """Measurement of the recipe as it is, including its repair."""
        return self.results.get(2) or (None if self.partial else self.results.get(1))

    @property
    def partial(self) -> str:
        """What the first rung left out, in words; empty: it measured the recipe as it is."""
        words = ["masks alone"] * self.proxied + ["fewer calibration windows"] * self.shortened
        return ", ".join(words)

    @property
    def left_out(self) -> str:
        """What its only figure leaves out; empty if it has the recipe's, or none."""
        return self.partial if self.measurement is not None and self.whole is None else ""

    def share(self, owner: "Entry") -> None:
        """Take over the results of an older entry."""
        self.results, self.change, self.ranked = dict(owner.results), owner.change, owner.ranked
        self.proxied, self.shortened, self.few = owner.proxied, owner.shortened, owner.few

    def reject(self, code: str, detail: str) -> None:
        """Record a verdict; it never becomes a number."""
        self.status, self.code, self.detail = "rejected", code, detail


@dataclass(frozen=True)
class Lead:
    """The winner's lead over another entry in the ranking fitness.

    Args:
        versus: Alias of the other entry.
        difference: Winner minus the other on common windows, nats per token.
    """

    versus: str
    difference: Difference


class Archive:
    """All entries, in order of creation."""

    def __init__(
        self, reference: str, proxy: str = "none", fitness: Fitness = "perplexity"
    ) -> None:
        self.reference = reference
        self.proxy = proxy
        self.fitness = fitness
        self._cheap: dict[str, Measurement] = {}
        self._entries: dict[str, Entry] = {}
        self._owners: dict[tuple[str, str], str] = {}

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, alias: str) -> Entry:
        return self._entries[alias]

    def __contains__(self, alias: str) -> bool:
        return alias in self._entries

    def add(self, entry: Entry) -> Entry:
        """Append an entry; aliases are unique."""
        assert entry.alias not in self._entries
        self._entries[entry.alias] = entry
        return entry

    def designed(self) -> list[Entry]:
        """Return all attempts of designers, including rejected ones."""
        return [entry for entry in self if not entry.is_baseline]

    def reference_entry(self) -> Entry | None:
        """Return the reference: the measured baseline that changes are relative to."""
        found = (e for e in self if e.status == "measured" and self.refers(e))
        return next(found, None)

    def refers(self, entry: Entry) -> bool:
        """Whether an entry is the reference baseline, measured or not."""
        recipe = entry.recipe
        return (
            entry.is_baseline
            and recipe is not None
            and recipe.metric.source == self.reference
            and recipe.allocation == UNIFORM
        )

    def compare(
        self, entry: Entry, other: Entry, *, fitness: Fitness | None = None
    ) -> Difference | None:
        """Return the paired difference ``entry - other`` on the windows both have.

        Two recipes are compared as they are if both were measured that way, otherwise by their
        masks with the proxy's repair, so that a repair is never credited to a metric.
        """
        first, second = entry.whole, other.whole
        if first is None or second is None:
            first, second = self.cheap(entry), self.cheap(other)
        if first is None or second is None:
            return None
        kind = fitness or self.fitness
        return paired_difference(fitness_of(first, kind), fitness_of(second, kind))

    def cheap(self, entry: Entry) -> Measurement | None:
        """Measurement of an entry's masks with the proxy's repair."""
        return None if entry.recipe is None else self.known(entry.recipe)

    def known(self, recipe: Recipe) -> Measurement | None:
        """Measurement of a recipe's masks with the proxy's repair, from any entry that has them."""
        return self._cheap.get(mask_key(recipe))

    def cheap_score(self, entry: Entry) -> float | None:
        """Fitness difference between an entry's and the reference's masks, with proxy repair."""
        reference = self.reference_entry()
        first, second = self.cheap(entry), self.cheap(reference) if reference else None
        if first is None or second is None:
            return None
        pair = (fitness_of(first, self.fitness), fitness_of(second, self.fitness))
        return paired_difference(*pair).mean

    def note_cheap(self, entry: Entry, measurement: Measurement) -> None:
        """Remember the result of masks with the proxy's repair; more windows replace fewer."""
        known = self._cheap.get(mask_key(entry.known_recipe))
        if known is None or len(known.nll) < len(measurement.nll):
            self._cheap[mask_key(entry.known_recipe)] = measurement

    def measured(self) -> list[Entry]:
        """Entries with a result of their own, best first; ties keep the older entry first.

        The paired difference to the reference orders entries of different rungs fairly.
        """
        found = [e for e in self if e.status == "measured" and e.change is not None]
        return sorted(found, key=lambda e: e.score)

    def standings(self) -> dict[str, Verdict]:
        """Return the verdict on each entry by alias, best first.

        Entries without a result of their own come last: duplicates, then others, by ``order``.
        """
        measured, winner = self.measured(), self.winner()
        ranked = {entry.alias for entry in measured}
        others = [entry for entry in self if entry.alias not in ranked]
        others.sort(key=lambda entry: (entry.status != "duplicate", entry.order))
        return {e.alias: _verdict(e, is_winner=e is winner) for e in [*measured, *others]}

    def best(self, *, designed: bool = False) -> Entry | None:
        """Return the best entry measured on all selection windows; ``designed``: no baselines."""
        found = (e for e in self.measured() if e.rung >= 2 and not e.fails_elsewhere)
        return next((e for e in found if not (designed and e.is_baseline)), None)

    def winner(self) -> Entry | None:
        """Return the result of the search: the best recipe that beats the reference.

        A hand-made combination may win; then no designed recipe is worth shipping. If entries were
        also measured at other sparsities, the mean over all of them decides. The lead over the
        others may be due to chance, see :meth:`margins`.
        """
        best = self.best()
        if best is not None and best.elsewhere:
            spread = [e for e in self.measured() if e.elsewhere.keys() == best.elsewhere.keys()]
            best = min(spread, key=self.robust_score)
        return best if best is not None and best.score < 0 else None

    def margins(self) -> list[Lead]:
        """Return the winner's paired differences to the runner-up and the reference, if any."""
        winner, reference = self.winner(), self.reference_entry()
        if winner is None:
            return []
        others = (e for e in self.measured() if e.rung >= 2 and not e.fails_elsewhere)
        second = next((e for e in others if e is not winner), None)
        found = []
        for rival in {e.alias: e for e in (second, reference) if e is not None}.values():
            difference = self.compare(winner, rival)
            if difference is not None:
                found.append(Lead(rival.alias, difference))
        return found

    def robust_score(self, entry: Entry) -> float:
        """Mean of the score and of the differences to the reference at other sparsities."""
        reference = self.reference_entry()
        assert reference is not None
        scores = [entry.score]
        for share, measurement in entry.elsewhere.items():
            base = reference.elsewhere[share]
            pair = (fitness_of(m, self.fitness) for m in (measurement, base))
            scores.append(paired_difference(*pair).mean)
        return sum(scores) / len(scores)

    def claim(self, space: str, key: str, entry: Entry) -> Entry | None:
        """Return the older entry that owns ``key``; without one, ``entry`` becomes its owner."""
        owner = self._owners.setdefault((space, key), entry.alias)
        return None if owner == entry.alias else self._entries[owner]

    def holder(self, space: str, key: str) -> Entry | None:
        """Return the entry that owns ``key``, see :meth:`claim`; None if there is none."""
        owner = self._owners.get((space, key))
        return None if owner is None else self._entries[owner]

    def original(self, entry: Entry) -> Entry:
        """Return the entry whose results a duplicate shares; the entry itself if it is none."""
        while entry.duplicate_of is not None:
            entry = self._entries[entry.duplicate_of]
        return entry


def _verdict(entry: Entry, *, is_winner: bool) -> Verdict:
    if entry.status in ("rejected", "duplicate"):
        return "rejected"
    if entry.measurement is None:
        return "unmeasured"
    if is_winner:
        return "winner"
    return "accepted" if entry.rung >= 2 else "stopped"


def fitness_of(measurement: Measurement, kind: Fitness) -> Sequence[float]:
    """Fitness of each window in nats per token; the loss if no distance was measured."""
    if kind == "perplexity" or not measurement.kl:
        return measurement.nll
    if kind == "kl":
        return measurement.kl
    return [a + b for a, b in zip(measurement.nll, measurement.kl, strict=True)]
