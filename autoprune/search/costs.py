"""Expected cost of measurements, estimated from those on record."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from autoprune.design.parts import chain, part_names
from autoprune.recipe import Recipe
from autoprune.search.archive import Archive, Entry
from autoprune.search.spec import SearchSpec

# Cost of unmeasured repairs, in whole measurements without repair (two cores, 135M weights).
# Walking the blocks adds one pass of the model, which is little compared with a repair.
ASSUMED_REPAIR = {"none": 0.0, "sparsegpt": 3.0, "dsnot": 2.0, "ebft": 15.0, "recover": 15.0}
ASSUMED_OTHER = 6.0
# The same of a pass in float32, in passes with rounded products, until one was measured.
ASSUMED_EXACT = 2.0
# Passes in float32 that an estimate is made of.
LATEST = 3
# The same of a program, which prunes block after block, each in a container of its own.
ASSUMED_PROGRAM = 12.0


@dataclass(frozen=True)
class ExactPass:
    """Seconds of passes in float32, where products on selection text are rounded.

    Args:
        window: Of one window through the model.
        masked: Of pruning without a repair, and one window.
    """

    window: float
    masked: float

    @classmethod
    def of(cls, dense: Sequence[float], masked: Sequence[float]) -> "ExactPass | None":
        """From measurements of one window each, in order; None without any of the dense model.

        The first pass of a process may take several times as long as the next, and there are many
        windows of sealed text: one slow sample would reserve the whole time of a search for its
        end. What is pruned first passes the window as well, so the fastest counts; only of the
        last few, for load changes, and a fast moment long ago promises too much.
        """
        if not dense:
            return None
        masked = masked[-LATEST:]
        window = min([*dense[-LATEST:], *masked])
        return cls(window, fmean(masked) if masked else window)


class Costs:
    """Expected seconds of measurements.

    Args:
        spec: Windows of the rungs.
        archive: Read, never changed.
        exact: Of passes in float32; None: not known yet.
    """

    def __init__(self, spec: SearchSpec, archive: Archive, exact: ExactPass | None = None) -> None:
        self.spec = spec
        self.archive = archive
        self._exact = exact

    def whole(self, recipe: Recipe) -> float:
        """Seconds to prune, repair and measure on all selection windows."""
        return self.plain() + self.added(recipe)

    def cheap(self, windows: int) -> float:
        """Seconds of the first rung on this many windows."""
        return self.plain() * min(1.0, windows / self.spec.selection_windows)

    def designed(self, windows: int) -> float:
        """Seconds of a designed recipe without repair on this many windows, pruning included."""
        share = self.first_share if windows < self.spec.selection_windows else 1.0
        program = share * self.program() if self.spec.written == "program" else 0.0
        return program + self.cheap(windows)

    @property
    def first_share(self) -> float:
        """Share of the calibration windows that a program prunes with on the first rung."""
        return self.spec.first_calibration / self.spec.calibration_windows

    def windows(self, count: int) -> float:
        """Seconds of a pass over this many windows; an overestimate that includes pruning."""
        return self.plain() * count / self.spec.selection_windows

    def sealed(self, recipe: Recipe) -> float:
        """Seconds of a recipe on the sealed windows."""
        if self.spec.precision == "float32":
            factor = max(1.0, self.spec.sealed_windows / self.spec.selection_windows)
            return self.plain() * factor + self.added(recipe)
        return self.sealed_pass() + self.added(recipe)

    def sealed_pass(self) -> float:
        """Seconds of a pass over the sealed windows, which is in float32 in any case."""
        count = self.spec.sealed_windows
        if self.spec.precision == "float32":
            return self.windows(count)
        if self._exact is None:
            return ASSUMED_EXACT * self.windows(count)
        return self._exact.masked + (count - 1) * self._exact.window

    def plain(self) -> float:
        """Mean seconds on all selection windows without repair."""
        return _mean(self._seconds(chain(self.spec.proxy))) or _mean(
            e.results[2].seconds for e in self.archive if 2 in e.results
        )

    def added(self, recipe: Recipe) -> float:
        """Seconds that a recipe's repair adds, and its program."""
        own = self.program() if recipe.metric.kind == "program" else 0.0
        return own + self.repair(recipe.repair)

    def program(self) -> float:
        """Seconds that a program adds: as measured on average, or else assumed."""
        measured = (e for e in self.archive if 2 in e.results and e.duplicate_of is None)
        known = [e.results[2].seconds for e in measured if e.is_program]
        if not known:
            return ASSUMED_PROGRAM * self.plain()
        return max(0.0, _mean(known) - self.plain())

    def repair(self, text: str) -> float:
        """Seconds that a repair adds: as measured, or else summed over its parts."""
        if text == self.spec.proxy:
            return 0.0
        name = chain(text)
        if self._seconds(name):
            return self._added(name)
        if (least := self._at_least(name)) > 0.0:
            return least
        return sum(map(self._added, part_names(text)))

    def _added(self, name: str) -> float:
        known = self._seconds(name)
        if not known:
            assumed = self.plain() * ASSUMED_REPAIR.get(name, ASSUMED_OTHER)
            return max(assumed, self._at_least(name))
        return max(0.0, _mean(known) - self.plain())

    def _at_least(self, name: str) -> float:
        """Lower bound: seconds after which a recipe with this repair was stopped."""
        stopped = (e for e in self.archive if e.unfinished and e.recipe is not None)
        taken = (e.whole_seconds for e in stopped if e.recipe and chain(e.recipe.repair) == name)
        return max(taken, default=0.0)

    def _seconds(self, name: str) -> list[float]:
        """Seconds of whole measurements with exactly these repairs, with any parameters."""
        return [e.results[2].seconds for e in self.archive if _measured_with(e, name)]


def _measured_with(entry: Entry, name: str) -> bool:
    recipe = entry.recipe
    # A duplicate holds its owner's figures, which would count twice.
    own = entry.duplicate_of is None and 2 in entry.results and not entry.is_program
    return own and recipe is not None and chain(recipe.repair) == name


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return fmean(found) if found else 0.0
