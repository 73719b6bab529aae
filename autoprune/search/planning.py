"""What the slots of a generation do, all decided from its frozen state."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

from autoprune.design.formulas import crossed, expression_of, invented, mutated, reduced, text_key
from autoprune.recipe import Candidate, Group, Recipe
from autoprune.search.archive import Entry
from autoprune.search.randomness import stream, stream_seed
from autoprune.search.state import (
    DESIGN_OPERATORS,
    FREE_OPERATORS,
    STALE_GENERATIONS,
    State,
)
from autoprune.search.tuning import suggest, tunables

CHANCE_OF_OTHER_PART = 0.25
ATTEMPTS = 8
# Characters of a formula below which there is nothing to leave out.
WORTH_SIMPLIFYING = 24


@dataclass(frozen=True)
class Plan:
    """What one slot does.

    Args:
        parents: Aliases that the operator works on, the main one first.
        hint: One idea for the designer.
        recipe: Set when no LLM is needed.
        dropped: Term that an ablation leaves out.
    """

    slot: int
    operator: str
    parents: tuple[str, ...] = ()
    hint: str = ""
    recipe: Recipe | None = None
    dropped: str | None = None


def recipe_key(recipe: Recipe) -> str:
    """Equal for recipes that are the same up to writing."""
    parts = (text_key(recipe.metric), recipe.group, recipe.allocation, recipe.solver)
    return "\n".join(parts)


def plan_generation(
    state: State, generation: int, count: int, hints: Sequence[str], taken: set[str]
) -> list[Plan]:
    """Decide operator, parents and hint of each slot.

    Args:
        count: Number of slots.
        hints: Ideas to hand out.
        taken: Keys of recipes on record; what is planned without an LLM is added.
    """
    planner = _Planner(state, generation, hints, taken)
    return [planner.plan(slot, count) for slot in range(count)]


class _Planner:
    def __init__(
        self, state: State, generation: int, hints: Sequence[str], taken: set[str]
    ) -> None:
        self.state = state
        self.spec = state.spec
        self.generation = generation
        self.hints = hints
        self.taken = taken
        self.planned: dict[str, int] = {}
        self.ranked = [e for e in state.archive.measured() if e.recipe is not None]
        self.formulas = [
            e for e in self.ranked if e.recipe and expression_of(e.recipe.metric) is not None
        ]

    def plan(self, slot: int, count: int) -> Plan:
        rng = stream(self.spec.seed, self.generation, slot, "plan")
        if self.spec.designer.kind == "random":
            return self._random(slot, rng)
        if self.spec.designer.kind == "genetic":
            return self._mutate(slot, rng) or self._random(slot, rng)
        free = sum(self.planned.get(name, 0) for name in FREE_OPERATORS)
        available = self._design_operators()
        if 2 * (free + 1) <= count:
            available += FREE_OPERATORS
        while True:
            operator = self.state.bandit.choose(available, self.planned)
            plan = self._make(slot, operator, rng)
            if plan is not None:
                self.planned[operator] = self.planned.get(operator, 0) + 1
                return plan
            available = tuple(name for name in available if name != operator)

    def _design_operators(self) -> tuple[str, ...]:
        left_out = {"seed"} if self.generation > 1 else set()
        if self.state.stale < STALE_GENERATIONS:
            left_out.add("paradigm")
        if len(self.ranked) < 2:
            left_out.add("combine")
        return tuple(name for name in DESIGN_OPERATORS if name not in left_out)

    def _make(self, slot: int, operator: str, rng: Random) -> Plan | None:
        match operator:
            case "mutate":
                return self._mutate(slot, rng)
            case "ablate":
                return self._ablate(slot)
            case "tune":
                return self._tune(slot)
        hint = self.hints[rng.randrange(len(self.hints))] if self.hints else ""
        if operator in ("seed", "explore", "paradigm"):
            return Plan(slot, operator, (), hint)
        pool = self.ranked
        if operator == "simplify":
            pool = [e for e in self.formulas if len(e.formula) >= WORTH_SIMPLIFYING]
            if not pool:
                return None
        first = self._parent(rng, pool)
        if operator != "combine":
            return Plan(slot, operator, (first.alias,), hint)
        others = [e for e in self.ranked if e.formula != first.formula] or self.ranked
        second = self._parent(rng, others)
        return Plan(slot, operator, (first.alias, second.alias), hint)

    def _parent(self, rng: Random, entries: Sequence[Entry]) -> Entry:
        """A measured entry, the better the likelier: probability falls as one over the rank."""
        pool = entries[:8]
        weights = [1.0 / (rank + 1) for rank in range(len(pool))]
        return rng.choices(pool, weights)[0]

    def _parts(self, parent: Recipe | None, rng: Random) -> tuple[Group, str]:
        """Comparison group and allocation, mostly the parent's."""
        if parent is None:
            return rng.choice(self.spec.groups), rng.choice(self.spec.allocations)
        group, allocation = parent.group, parent.allocation
        if rng.random() < CHANCE_OF_OTHER_PART:
            group = rng.choice(self.spec.groups)
        if rng.random() < CHANCE_OF_OTHER_PART:
            allocation = rng.choice(self.spec.allocations)
        return group, allocation

    def _take(self, recipe: Recipe) -> bool:
        key = recipe_key(recipe)
        if key in self.taken:
            return False
        self.taken.add(key)
        return True

    def _recipe(self, metric: Candidate, group: Group, allocation: str) -> Recipe:
        return Recipe(metric, group, allocation, self.spec.solver)

    def _random(self, slot: int, rng: Random) -> Plan:
        while True:
            group, allocation = self._parts(None, rng)
            recipe = self._recipe(invented(rng, self.spec.statistics), group, allocation)
            if self._take(recipe):
                return Plan(slot, "random", (), recipe=recipe)

    def _mutate(self, slot: int, rng: Random) -> Plan | None:
        if not self.formulas:
            return None
        for _ in range(ATTEMPTS):
            first = self._parent(rng, self.formulas)
            second = self._parent(rng, self.formulas)
            assert first.recipe is not None and second.recipe is not None
            parents: tuple[str, ...] = (first.alias,)
            metric = None
            if first.alias != second.alias and rng.random() < 0.5:
                metric = crossed(first.recipe.metric, second.recipe.metric, rng)
                parents = (first.alias, second.alias)
            if metric is None:
                metric = mutated(first.recipe.metric, rng, self.spec.statistics)
                parents = (first.alias,)
            assert metric is not None
            recipe = self._recipe(metric, *self._parts(first.recipe, rng))
            if self._take(recipe):
                return Plan(slot, "mutate", parents, recipe=recipe)
        return None

    def _ablate(self, slot: int) -> Plan | None:
        for entry in self.formulas[:3]:
            assert entry.recipe is not None
            for smaller in reduced(entry.recipe.metric):
                recipe = replace(entry.recipe, metric=smaller.candidate)
                if self._take(recipe):
                    parents = (entry.alias,)
                    return Plan(slot, "ablate", parents, recipe=recipe, dropped=smaller.dropped)
        return None

    def _tune(self, slot: int) -> Plan | None:
        for entry in self.ranked[:3]:
            assert entry.recipe is not None
            ranges = tunables(entry.recipe, self.spec.tunable)
            if not ranges:
                continue
            for attempt in range(ATTEMPTS):
                seed = stream_seed(self.spec.seed, self.generation, slot, f"tune {attempt}")
                recipe = suggest(entry.recipe, ranges, self.ranked, seed)
                if self._take(recipe):
                    return Plan(slot, "tune", (entry.alias,), recipe=recipe)
        return None
