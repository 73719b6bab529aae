"""Expected cost of a search on this machine: before it starts, and of the rest while it runs.

Before it starts, only a dense pass is measured; the rest is assumed from the cost of earlier
searches. The estimate is for planning an evening, not for deciding anything.
"""

import math
from dataclasses import asdict, dataclass
from statistics import fmean, median
from typing import Any

from autoprune.recipe import Recipe
from autoprune.search.archive import Archive
from autoprune.search.budget import ASSUMED_ANSWER, DRAW_WHOLES
from autoprune.search.costs import Costs
from autoprune.search.search import Search
from autoprune.search.sentinels import WINDOWS
from autoprune.search.spec import SearchSpec

# Scoring, masking and restoring weights take about as long as this many windows (two cores, 135M
# weights, windows of 512 tokens); a container's verdict takes SANDBOX_SECONDS.
PRUNING_WINDOWS = 3.0
SANDBOX_SECONDS = 0.5


@dataclass(frozen=True)
class Estimate:
    """Expected seconds of a search and how far its limits reach.

    Args:
        window: A window through the dense model, as measured.
        answer: An answer of the designer, assumed; 0 if none is asked.
        baselines: All hand-made recipes on all selection windows.
        candidate: One designed candidate on average: answer, sandbox, few windows, and for the
            promoted share all windows with a repair.
        end: Draws of calibration text and the sealed measurement.
        candidates: How many fit into the limits.
        limit: The limit that ends the search: ``candidates``, ``seconds``, ``tokens``, ``money``.
        total: The whole search, without loading, calibration and saving.
    """

    window: float
    answer: float
    baselines: float
    candidate: float
    end: float
    candidates: int
    limit: str
    total: float

    def to_json(self) -> dict[str, Any]:
        """Plain JSON form."""
        return asdict(self)


def estimate(spec: SearchSpec, window: float) -> Estimate:
    """Estimate the cost of a search."""
    costs = _AssumedCosts(spec, window)
    made = [recipe.recipe(spec.default_repair) for recipe in spec.hand_made()]
    repair = fmean(map(costs.repair, spec.choices.repairs))
    program = costs.program() if spec.written == "program" else 0.0
    whole = costs.plain() + program + repair
    asks = spec.designer.asks
    answer = ASSUMED_ANSWER if spec.designer.is_timed else 0.0
    checks = 2 * costs.windows(WINDOWS) / spec.slots if spec.sentinel_every else 0.0
    candidate = answer + SANDBOX_SECONDS
    if spec.budget.evaluations is None:
        candidate += costs.windows(spec.rung_windows) + spec.promote * whole
        candidate += costs.first_share * program
    else:
        candidate += whole
    candidate += checks
    baselines = sum(costs.whole(recipe) for recipe in made)
    sealed = sum(costs.sealed(recipe) for recipe in made)
    sealed += costs.sealed_pass() + program + repair
    end = sealed + (spec.draws - 1) * (whole + DRAW_WHOLES * costs.plain())
    fits = _fits(spec, candidate, baselines + end, asks)
    limit = min(fits, key=lambda name: fits[name])
    count = fits[limit]
    total = baselines + count * candidate + end
    return Estimate(window, answer, baselines, candidate, end, count, limit, total)


def _fits(spec: SearchSpec, candidate: float, rest: float, asks: bool) -> dict[str, int]:
    """How many candidates each limit allows, the limit in candidates first."""
    budget, designer = spec.budget, spec.designer
    fits = {"candidates": budget.candidates}
    if budget.evaluations is not None:
        fits["evaluations"] = budget.evaluations
    if budget.seconds is not None:
        fits["seconds"] = max(0, math.floor((budget.seconds - rest) / candidate))
    if asks and budget.tokens is not None:
        fits["tokens"] = budget.tokens // (designer.prompt_tokens + designer.answer_tokens)
    if asks and budget.money is not None:
        highest = budget.cost(designer.prompt_tokens, designer.answer_tokens)
        fits["money"] = math.floor(budget.money / highest)
    return fits


def expected_seconds(search: Search) -> float | None:
    """Estimate the seconds to the end from the median candidate; None before the first."""
    spec, spent = search.spec, search.spent
    if search.finished:
        return 0.0
    baselines = [e for e in search.entries if e.is_baseline]
    measured = [e.seconds for e in baselines if e.status == "measured"]
    if not measured:
        return None
    each = median(measured)
    designed = [e.seconds for e in search.entries if not e.is_baseline and e.seconds > 0]
    candidate = median(designed) if designed else each
    room = spec.budget.candidates - spent.candidates
    if spec.budget.evaluations is not None:
        room = min(room, spec.budget.evaluations - spent.evaluations)
    left = candidate * max(0, room)
    if spec.budget.seconds is not None:
        left = min(left, max(0.0, spec.budget.seconds - spent.seconds))
    waiting = each * sum(e.status in ("proposed", "valid") for e in baselines)
    sealed = each * spec.sealed_windows / spec.selection_windows * (len(baselines) + 2)
    return waiting + left + sealed


class _AssumedCosts(Costs):
    """Costs when only a dense pass has been measured."""

    def __init__(self, spec: SearchSpec, window: float) -> None:
        super().__init__(spec, Archive(spec.reference, spec.proxy))
        self._window = window

    def windows(self, count: int) -> float:
        """Seconds to prune without repair and measure this many windows."""
        return (count + PRUNING_WINDOWS) * self._window

    def plain(self) -> float:
        return self.windows(self.spec.selection_windows)

    def sealed(self, recipe: Recipe) -> float:
        return self.sealed_pass() + self.added(recipe)
