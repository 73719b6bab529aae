"""What the slots of a generation do, all decided from its frozen state."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

from autoprune.design.formulas import expression_of, extended, reduced
from autoprune.design.graph import parent_weights, worth_of_factors
from autoprune.design.parts import forgets_metric
from autoprune.errors import UnknownNameError
from autoprune.recipe import Recipe
from autoprune.search.archive import Entry
from autoprune.search.arms import DESIGN_OPERATORS, FREE_OPERATORS, arm_of, models_of
from autoprune.search.moves import (
    crossed_recipe,
    mutated_metric,
    mutated_recipe,
    random_recipe,
    recombined,
    take,
)
from autoprune.search.randomness import stream, stream_seed
from autoprune.search.state import STALE_GENERATIONS, State
from autoprune.search.sweeping import SWEEP, swept
from autoprune.search.tuners import tuned

ATTEMPTS = 12
# A generation has a slot for the designer at least while its answers took no more than this share
# of the seconds spent: a model that never helps wastes a fifth of a search and one answer.
FLOOR = 0.2
# Characters of a formula below which there is nothing to leave out.
WORTH_SIMPLIFYING = 24
POOL = 8
# Which part an exploit asks for, in turn: the metric twice, since it is the richest.
EXPLOITED = ("metric", "allocation", "metric", "solver", "allocation", "group")


@dataclass(frozen=True)
class Plan:
    """What one slot does.

    Args:
        parents: Aliases that the operator works on, the main one first.
        hint: One idea for the designer.
        recipe: Set when no LLM is needed.
        term: What an ablation leaves out or an extension adds.
        part: The one part that the designer may write; the rest is the first parent's.
        direct: Few windows and masks alone cannot judge it.
        model: Which of several models is asked; None: the only one, or nobody.
    """

    slot: int
    operator: str
    parents: tuple[str, ...] = ()
    hint: str = ""
    recipe: Recipe | None = None
    term: str | None = None
    part: str | None = None
    direct: bool = False
    model: str | None = None


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
    plans = [
        Plan(slot, SWEEP, (best.alias,), recipe=recipe, direct=True)
        for slot, (best, recipe) in enumerate(swept(state, generation, count, taken))
    ]
    for slot in range(len(plans), count):
        plans.append(planner.plan(slot, last=slot == count - 1))
    return plans


def plan_operator(
    state: State, generation: int, operator: str, hints: Sequence[str], taken: set[str]
) -> list[Plan]:
    """What one operator would do now, whether it would be chosen or not; exploits for every part.

    Raises:
        UnknownNameError: If there is no such operator for a designer.
    """
    if operator not in DESIGN_OPERATORS:
        raise UnknownNameError("operator", operator, DESIGN_OPERATORS)
    planner = _Planner(state, generation, hints, taken)
    plans: list[Plan] = []
    for slot in range(len(EXPLOITED) if operator == "exploit" else 1):
        plan = planner.make(slot, operator)
        if plan is not None and plan.part not in [known.part for known in plans]:
            plans.append(plan)
        planner.planned[operator] = slot + 1
    return plans


def spare_recipe(
    state: State, generation: int, slot: int, near: Recipe, taken: set[str]
) -> Recipe | None:
    """A recipe in the place of one that is known already: a mutation of it or of the best.

    The designer ``random`` draws another one, as it does with everything.
    """
    rng = stream(state.spec.seed, generation, slot, "spare")
    best = state.archive.best()
    homes = [near] if best is None or best.recipe is None else [near, best.recipe]
    for attempt in range(ATTEMPTS):
        if state.spec.designer.kind == "random":
            found = random_recipe(rng, state.spec.choices)
        else:
            found = mutated_recipe(homes[attempt % len(homes)], rng, state.spec.choices)
        if take(found, taken):
            return found
    return None


def _formulas(entries: Sequence[Entry]) -> list[Entry]:
    return [e for e in entries if e.recipe and expression_of(e.recipe.metric) is not None]


class _Planner:
    def __init__(
        self, state: State, generation: int, hints: Sequence[str], taken: set[str]
    ) -> None:
        self.state = state
        self.spec = state.spec
        self.choices = state.spec.choices
        self.generation = generation
        self.hints = hints
        self.taken = taken
        self.models = models_of(state.spec)
        # Slots of this generation by arm.
        self.planned: dict[str, int] = {}
        self.ranked = [e for e in state.archive.measured() if e.recipe is not None]
        self.formulas = _formulas(self.ranked)
        # Where another metric would make a difference.
        self.judged = [e for e in self.ranked if e.recipe and not forgets_metric(e.recipe)]

    def plan(self, slot: int, *, last: bool) -> Plan:
        rng = stream(self.spec.seed, self.generation, slot, "plan")
        if self.spec.designer.kind == "random":
            return self._random(slot, rng)
        if self.spec.designer.kind == "genetic":
            return self._mutate(slot, rng) or self._random(slot, rng)
        if self.spec.designer.context == "list":
            return Plan(slot, "list", (), self._hint(rng))
        design = self._design_operators() if self.state.uses_designer else ()
        asked = {arm_of(name, model): (name, model) for name in design for model in self.models}
        arms = asked | {arm_of(name): (name, None) for name in FREE_OPERATORS}
        if last and design and self._owed():
            arms = asked
        while arms:
            arm = self.state.bandit.choose(tuple(arms), self.planned)
            operator, model = arms[arm]
            plan = self._make(slot, operator, rng)
            if plan is not None:
                self.planned[arm] = self.planned.get(arm, 0) + 1
                return replace(plan, model=model)
            arms = {name: pair for name, pair in arms.items() if pair[0] != operator}
        return self._random(slot, rng)

    def make(self, slot: int, operator: str) -> Plan | None:
        """The plan of a given operator; None where it has nothing to work on."""
        return self._make(slot, operator, stream(self.spec.seed, self.generation, slot, "plan"))

    def _owed(self) -> bool:
        """Whether the designer has no slot yet and its share of the time allows for one."""
        asked = any(self._slots_of(name) for name in DESIGN_OPERATORS)
        return not asked and self.state.asking_seconds <= FLOOR * self.state.spent.seconds

    def _slots_of(self, operator: str) -> int:
        """Slots of this generation that an operator has, whichever model is asked."""
        arms = {arm_of(operator), *(arm_of(operator, model) for model in self.models)}
        return sum(self.planned.get(arm, 0) for arm in arms)

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
            case "recombine":
                return self._recombine(slot)
            case "ablate":
                return self._ablate(slot)
            case "extend":
                return self._extend(slot)
            case "tune":
                return self._tune(slot)
        hint = self._hint(rng)
        # Small models write "uniform" and "none" where they may; the metric is what they are asked.
        part = "metric" if self.spec.language == "expression" else None
        if operator == "explore" and part and self.judged:
            return Plan(slot, operator, (self.judged[0].alias,), hint, part=part)
        if operator in ("seed", "explore", "paradigm"):
            return Plan(slot, operator, (), hint)
        if operator == "exploit":
            return self._exploit(slot, hint)
        pool = self.ranked if operator == "combine" else self.judged
        if operator == "simplify":
            pool = [e for e in _formulas(pool) if len(e.formula) >= WORTH_SIMPLIFYING]
        if not pool:
            return None
        first = self._parent(rng, pool)
        if operator != "combine":
            return Plan(slot, operator, (first.alias,), hint, part=part)
        others = [e for e in self.ranked if e.formula != first.formula] or self.ranked
        second = self._parent(rng, others)
        return Plan(slot, operator, (first.alias, second.alias), hint)

    def _hint(self, rng: Random) -> str:
        return self.hints[rng.randrange(len(self.hints))] if self.hints else ""

    def _exploit(self, slot: int, hint: str) -> Plan | None:
        """The best recipe, one part at a time; parts without a choice are passed over."""
        done = self.state.exploited + self._slots_of("exploit")
        best = self.state.archive.best() or self.ranked[0]
        recipe = best.recipe
        assert recipe is not None
        for turn in range(len(EXPLOITED)):
            part = EXPLOITED[(done + turn) % len(EXPLOITED)]
            formula = expression_of(recipe.metric) is not None
            if part == "metric" and not formula and self.spec.language == "expression":
                continue
            choices = {"allocation": self.choices.allocations, "solver": self.choices.solvers}
            if part in ("metric", "group") and forgets_metric(recipe):
                continue
            if part == "group" and len(self.choices.groups) < 2:
                continue
            if part in choices and len(choices[part]) < 2:
                continue
            if part == "metric" and self.spec.language != "expression":
                # Code is written as a whole; a line of it cannot be blanked out.
                return Plan(slot, "exploit", (best.alias,), hint)
            return Plan(slot, "exploit", (best.alias,), hint, part=part)
        return None

    def _parent(self, rng: Random, entries: Sequence[Entry]) -> Entry:
        """A measured entry, the better the likelier: probability falls as one over the rank.

        The reasoning graph also credits what led to gains and is tired of what led to none; what is
        compared with it, genetic programming and a list of results, knows ranks only.
        """
        pool = entries[:POOL]
        weights = [1.0 / (rank + 1) for rank in range(len(pool))]
        if self.spec.designer.kind not in ("genetic", "random"):
            weights = parent_weights(self.state.graph, [entry.alias for entry in pool])
        return rng.choices(pool, weights)[0]

    def _random(self, slot: int, rng: Random) -> Plan:
        while True:
            recipe = random_recipe(rng, self.choices)
            if take(recipe, self.taken):
                return Plan(slot, "random", (), recipe=recipe)

    def _mutate(self, slot: int, rng: Random) -> Plan | None:
        for _ in range(ATTEMPTS):
            first, second = (self._parent(rng, self.ranked) for _ in range(2))
            assert first.recipe is not None and second.recipe is not None
            parents: tuple[str, ...] = (first.alias,)
            if first.alias != second.alias and rng.random() < 0.3:
                recipe = crossed_recipe(first.recipe, second.recipe, rng)
                parents = (first.alias, second.alias)
            else:
                recipe = mutated_recipe(first.recipe, rng, self.choices)
            if take(recipe, self.taken):
                return Plan(slot, "mutate", parents, recipe=recipe)
        for _ in range(ATTEMPTS):
            # Few entries may have no unknown neighbour but in their formula.
            best = self.ranked[0]
            assert best.recipe is not None
            recipe = mutated_metric(best.recipe, rng, self.choices)
            if take(recipe, self.taken):
                return Plan(slot, "mutate", (best.alias,), recipe=recipe)
        return None

    def _recombine(self, slot: int) -> Plan | None:
        """The best pair that was not tried: metric of one, allocation and repair of another.

        What is worse than the reference has no part that is worth a place in another recipe.
        """
        pool = [entry for entry in self.ranked[:POOL] if entry.score <= 0.0]
        pairs = [
            (one, other, i + j)
            for i, one in enumerate(pool)
            for j, other in enumerate(pool)
            if i != j
        ]
        for one, other, _ in sorted(pairs, key=lambda pair: pair[2]):
            assert one.recipe is not None and other.recipe is not None
            recipe = recombined(one.recipe, other.recipe)
            if take(recipe, self.taken):
                return Plan(slot, "recombine", (one.alias, other.alias), recipe=recipe)
        return None

    def _ablate(self, slot: int) -> Plan | None:
        """Terms of the best recipe, then of the next ones."""
        for entry in self.formulas[:3]:
            assert entry.recipe is not None
            for smaller in reduced(entry.recipe.metric):
                recipe = replace(entry.recipe, metric=smaller.candidate)
                if take(recipe, self.taken):
                    parents = (entry.alias,)
                    return Plan(slot, "ablate", parents, recipe=recipe, term=smaller.dropped)
        return None

    def _extend(self, slot: int) -> Plan | None:
        """One factor more in the best formula; first what helped another formula most.

        The formula is that of the best recipe whose masks were measured alone, since what a factor
        is worth is read from masks alone. Of what nothing is known the seed draws an order: any
        fixed one would decide what a search without facts finds.
        """
        home = next((e for e in self.formulas if self._shows_factors(e)), None)
        if home is None or home.recipe is None:
            return None
        across = home.recipe.group != "row"
        terminals = self.choices.statistics
        worth = worth_of_factors(self.state.graph)
        for longer in sorted(
            extended(home.recipe.metric, terminals, across_rows=across),
            # What hurts one way is expected to help the other way, at half its size.
            key=lambda e: (
                worth.get(e.added, -0.5 * worth.get(e.opposite, 0.0)),
                stream_seed(self.spec.seed, 0, 0, f"extend {e.added}"),
            ),
        ):
            recipe = replace(home.recipe, metric=longer.candidate)
            if take(recipe, self.taken):
                parents = (home.alias,)
                return Plan(slot, "extend", parents, recipe=recipe, term=longer.added)
        return None

    def _shows_factors(self, entry: Entry) -> bool:
        assert entry.recipe is not None
        known = self.state.archive.cheap(entry)
        return known is not None and not forgets_metric(entry.recipe)

    def _tune(self, slot: int) -> Plan | None:
        turn = self._slots_of("tune") + sum(e.operator == "tune" for e in self.state.archive)
        for trial in tuned(self.state, self.ranked, (self.generation, slot), turn):
            if take(trial.recipe, self.taken):
                where = (slot, "tune", trial.parents)
                return Plan(*where, recipe=trial.recipe, direct=trial.direct)
        return None
