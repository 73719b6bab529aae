"""Sentinels: recipes whose figures are known, measured again so that drift stops a search.

The dense model, the reference, magnitude and random: any fault in restoring weights, statistics,
scores, masks, text or machine moves one of them. Masks are computed again each time, never taken
from those that are remembered (role ``sentinel``), and the statistics they are made from are
checked against their digest. Few windows suffice, since equal work gives equal figures: this is an
exact comparison, up to the order of sums, not a statistic.

These are masks alone. The winning recipe is pruned once more as it is, repair included, before the
seal (role ``repeat``): most of a figure comes from the repair. This costs no extra time, since the
sealed measurement uses the resulting weights, and the time for a repair is reserved for it.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace

from autoprune.candidate import Candidate
from autoprune.design.parts import chain, with_proxy
from autoprune.program_files import prunes_blocks
from autoprune.recipe import Recipe
from autoprune.repair import EBFT, RECOVER
from autoprune.search import graph_notes
from autoprune.search.archive import Entry
from autoprune.search.costs import ExactPass
from autoprune.search.state import SearchState
from autoprune.search.steps import (
    Batch,
    Failed,
    Measure,
    Measurement,
    Outcome,
    Outcomes,
    StepGenerator,
)
from autoprune.search_settings import Precision

DENSE = "dense"
CONTROLS = {
    "magnitude": Recipe(Candidate("builtin", "magnitude"), "matrix"),
    "random": Recipe(Candidate("builtin", "random")),
}
WINDOWS = 1
# Nats per token that a window may move; reordered sums move it by a thousandth of that.
DRIFT = 1e-3
# The same where blocks were tuned: hundreds of steps propagate rounding, and processors with and
# without bfloat16 products, which a cluster may mix, differ by two hundredths. A window measured
# with rounded products moves by as much.
ROUNDED_DRIFT = 0.03
# A dense pass that takes less is repeated every time; a slower one takes turns with the others.
QUICK_SECONDS = 2.0


@dataclass
class Sentinel:
    """A recipe that is measured again.

    Args:
        name: ``dense``, the reference's metric, ``magnitude`` or ``random``; the winner's alias.
        recipe: None: the dense model.
        first: Loss of each window at the first measurement, nats per token.
        quick: It takes only a moment.
        checks: How often it was measured again.
        largest: Largest difference of a window since then, nats per token.
    """

    name: str
    recipe: Recipe | None
    first: tuple[float, ...]
    quick: bool = False
    checks: int = 0
    largest: float = 0.0


class Sentinels:
    """Measures sentinels after the baselines, and again before each generation and the seal.

    Args:
        state: Charged with their seconds.
    """

    def __init__(self, state: SearchState) -> None:
        self.state = state
        self.spec = state.spec
        self.known: list[Sentinel] = []
        # Which sentinel drifted, in words; empty: none did.
        self.drift = ""
        self._turn = 0
        self._dense_seconds: list[float] = []
        self._masked_seconds: list[float] = []

    def begin(self) -> StepGenerator:
        """Measure sentinels whose figures the baselines do not give; leave out those that fail."""
        if not self.spec.sentinel_every:
            return
        wanted = {DENSE: None, self.spec.reference: self.state.reference().recipe}
        controls = {} if self.spec.schemes else CONTROLS
        wanted |= {name: recipe for name, recipe in controls.items() if name not in wanted}
        # Masks alone: a repair would take minutes to say the same.
        proxy = self.spec.proxy
        recipes = {name: recipe and with_proxy(recipe, proxy) for name, recipe in wanted.items()}
        known = {n: r and self.state.archive.known(r) for n, r in recipes.items()}
        if self.spec.precision != "float32":
            # Sentinels are measured without rounding, so that a small drift shows.
            known = dict.fromkeys(recipes)
        missing = [self._step("first", n, r) for n, r in recipes.items() if known[n] is None]
        outcomes = yield missing
        self.state.charge(outcomes.values())
        for name, recipe in recipes.items():
            outcome = known[name] or outcomes[f"first.{name}.sentinel"]
            if isinstance(outcome, Measurement):
                quick = recipe is None and outcome.seconds <= QUICK_SECONDS
                self.known.append(Sentinel(name, recipe, outcome.nll[:WINDOWS], quick))
        self._time(outcomes)

    def check_before(self, generation: int) -> Generator[Batch, Outcomes, bool]:
        """Run :meth:`check` if it is due; the first generation directly follows the baselines."""
        every = self.spec.sentinel_every
        if not every or generation == 1 or (generation - 1) % every:
            return False
        return (yield from self.check(f"g{generation}"))

    def check(self, where: str) -> Generator[Batch, Outcomes, bool]:
        """Measure the quick ones again, and one of the others in turn."""
        slow = [s for s in self.known if not s.quick]
        chosen = [s for s in self.known if s.quick]
        if slow:
            chosen.append(slow[self._turn % len(slow)])
        self._turn += 1
        if not chosen:
            return False
        steps = {s.name: self._step(where, s.name, s.recipe) for s in chosen}
        outcomes = yield list(steps.values())
        self.state.charge(outcomes.values())
        self._time(outcomes)
        for sentinel in chosen:
            outcome = outcomes[steps[sentinel.name].step_id]
            self._judge(sentinel, outcome, allowed_drift(sentinel.recipe))
        return bool(self.drift)

    def repeat(self, entry: Entry | None) -> Generator[Batch, Outcomes, Failed | None]:
        """Prune once more by the recipe to be sealed, including its repair, and measure it again.

        Figures that differ from those that it won with are drift, since :meth:`check` has just
        passed; other masks, and other figures of designed code, are the recipe's own fault.
        """
        if not self.spec.sentinel_every or entry is None or entry.recipe is None:
            return None
        decisive = entry.results.get(2)
        if decisive is None or entry.recipe in [sentinel.recipe for sentinel in self.known]:
            return None
        again = Sentinel(entry.alias, entry.recipe, decisive.nll[:WINDOWS])
        step = replace(self._step("repeat", entry.alias, entry.recipe), role="repeat")
        outcomes = yield [step]
        self.state.charge(outcomes.values())
        outcome = outcomes[step.step_id]
        allowed = allowed_drift(entry.recipe, self.spec.precision)
        if isinstance(outcome, Measurement):
            fault = own_fault(entry.recipe, decisive, outcome, allowed)
            if fault:
                return Failed("nondeterministic", f"pruned once more, it {fault}")
        self.known.append(again)
        self._judge(again, outcome, allowed)
        return None

    def _time(self, outcomes: Outcomes) -> None:
        """Note what checking took, and what it shows of passes in float32."""
        self.state.check_seconds = sum(outcome.seconds for outcome in outcomes.values())
        for step, outcome in outcomes.items():
            if isinstance(outcome, Measurement):
                dense = step.endswith(f".{DENSE}.sentinel")
                (self._dense_seconds if dense else self._masked_seconds).append(outcome.seconds)
        self.state.exact = ExactPass.of(self._dense_seconds, self._masked_seconds)

    def _judge(self, sentinel: Sentinel, outcome: Outcome, allowed: float) -> None:
        """Compare with the first figure and note drift of more nats than allowed."""
        sentinel.checks += 1
        if isinstance(outcome, Measurement):
            moved = _moved(sentinel.first, outcome.nll)
            sentinel.largest = max(sentinel.largest, moved)
            drifted = moved > allowed
            fault = f"differs by {moved:.2g} nats per token" if drifted else ""
        else:
            assert isinstance(outcome, Failed)
            fault = f"could not be measured again ({outcome.code}: {outcome.detail})"
        if fault and not self.drift:
            self.drift = f"{sentinel.name} {fault}"
            graph_notes.note_drift(self.state, self.drift)

    def _step(self, where: str, name: str, recipe: Recipe | None) -> Measure:
        alias = self.state.reference().alias if name == self.spec.reference else name
        return Measure(
            f"{where}.{name}.sentinel",
            self.state.generation,
            0,
            name,
            recipe,
            rung=1,
            windows=WINDOWS,
            sparsity=0.0 if recipe is None else self.state.share_of(alias),
            role="sentinel",
        )


def own_fault(recipe: Recipe, won: Measurement, again: Measurement, allowed: float) -> str:
    """How a recipe differs from itself where the machine is not the cause; empty: it does not."""
    if again.mask_digest != won.mask_digest:
        return "gave other masks"
    moved = _moved(won.nll[: len(again.nll)], again.nll)
    if recipe.metric.is_code and moved > allowed:
        return f"differs by {moved:.2g} nats per token"
    return ""


def _moved(first: Sequence[float], now: Sequence[float]) -> float:
    """Largest difference of a window to its first loss, nats per token."""
    return max(abs(later - before) for later, before in zip(now, first, strict=True))


def allowed_drift(recipe: Recipe | None, precision: Precision = "float32") -> float:
    """Nats per token that a window of a recipe may move when it is measured again."""
    if precision == "bfloat16":
        return ROUNDED_DRIFT
    if recipe is None:
        return DRIFT
    descends = recipe.metric.kind == "program" and prunes_blocks(recipe.metric.source)
    tuned = descends or {EBFT, RECOVER} & set(chain(recipe.repair).split("+"))
    return ROUNDED_DRIFT if tuned else DRIFT
