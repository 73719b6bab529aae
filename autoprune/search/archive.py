"""What the search knows of each candidate, folded from recorded outcomes."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from autoprune.design.parsing import Prediction
from autoprune.recipe import Recipe
from autoprune.search.paired import Difference, paired_difference
from autoprune.search.steps import Measurement, Validation

Status = Literal["proposed", "valid", "measured", "duplicate", "rejected"]


@dataclass
class Entry:
    """One recipe on record: a baseline, or one attempt of a designer.

    Args:
        alias: Unique in the run; baselines are called by what they are, candidates ``C1``, ``C2``.
        order: Position in which it was designed, from 1; 0 for baselines.
        recipe: None when the answer could not be read.
        formula: The metric as text for people and prompts.
        parents: Aliases it was made from.
        repaired: Alias of the failed attempt that this one repairs.
        duplicate_of: Alias of the older entry whose result it shares.
        code: Why it was rejected or is a duplicate; empty otherwise.
        results: Measurements by rung; a duplicate holds the other's.
        sealed: Measurement on the sealed split.
        change: Paired difference to the reference at the highest rung.
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
    sealed: Measurement | None = None
    change: Difference | None = None
    seconds: float = 0.0
    tokens: int = 0

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

    def reject(self, code: str, detail: str) -> None:
        """Put a verdict on record; it never becomes a number."""
        self.status, self.code, self.detail = "rejected", code, detail


class Archive:
    """All entries, in the order in which they were made."""

    def __init__(self, reference: str) -> None:
        self.reference = reference
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
        """All attempts of designers, rejected ones included."""
        return [entry for entry in self if not entry.is_baseline]

    def reference_entry(self) -> Entry | None:
        """The measured baseline that changes are counted from."""
        for entry in self:
            recipe = entry.recipe
            if (
                entry.is_baseline
                and entry.status == "measured"
                and recipe is not None
                and recipe.metric.source == self.reference
                and recipe.allocation == "uniform"
            ):
                return entry
        return None

    def compare(self, entry: Entry, other: Entry) -> Difference | None:
        """Paired difference ``entry - other`` on the windows both have."""
        first, second = entry.measurement, other.measurement
        if first is None or second is None:
            return None
        return paired_difference(first.nll, second.nll)

    def measured(self) -> list[Entry]:
        """Entries with a result of their own, best first.

        The paired change to the reference orders entries of different rungs fairly; ties keep the
        older entry first.
        """
        found = [e for e in self if e.status == "measured" and e.change is not None]
        return sorted(found, key=lambda e: e.change.mean if e.change else 0.0)

    def best(self, *, designed: bool = False) -> Entry | None:
        """Best entry measured on all selection windows; ``designed``: without baselines."""
        found = (e for e in self.measured() if e.rung >= 2)
        return next((e for e in found if not (designed and e.is_baseline)), None)

    def winner(self) -> Entry | None:
        """What a search ends with: the best recipe that beats the reference, whoever wrote it.

        A hand-made combination may win; then no designed recipe is worth shipping.
        """
        best = self.best()
        return best if best is not None and best.change and best.change.mean < 0 else None

    def claim(self, space: str, key: str, entry: Entry) -> Entry | None:
        """The older entry that owns ``key``; when there is none, ``entry`` owns it from now on.

        Args:
            space: What the key is of: ``text``, ``behaviour`` or ``mask``.
            key: Digest; equal keys mean equal results.
        """
        owner = self._owners.setdefault((space, key), entry.alias)
        return None if owner == entry.alias else self._entries[owner]
