"""Plans for the slots of a generation, all decided from its frozen state."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import chain
from random import Random

from autoprune.design.formulas import expression_of, formula_text
from autoprune.design.parts import ignores_metric
from autoprune.errors import UnknownNameError
from autoprune.recipe import Recipe
from autoprune.search.archive import Entry
from autoprune.search.arms import CONTROLS, DESIGN_OPERATORS, FREE_OPERATORS, PROPOSE, arm_of
from autoprune.search.catalogue import catalogue
from autoprune.search.moves import (
    mutated_recipe,
    random_recipe,
    recipe_text,
    take,
)
from autoprune.search.operators import ATTEMPTS, Operators, Plan, formulas_of
from autoprune.search.randomness import stream
from autoprune.search.sampling import sampled
from autoprune.search.state import STALE_GENERATIONS, SearchState
from autoprune.search.sweeping import SWEEP, WITH_MOVES, swept
from autoprune.search_settings import ASKING_ARMS

# Each generation has a slot for the designer as long as its answers took at most this share of the
# seconds spent: a model that never helps wastes a fifth of a search and one answer.
FLOOR = 0.2
# Operators whose templates show no idea to try.
WITHOUT_HINT = frozenset({"combine", "simplify", "critique"})
# Formulas with fewer characters have nothing to leave out.
WORTH_SIMPLIFYING = 24
# Parts that exploits ask for, in turn: the metric twice, since it is the richest.
EXPLOITED = ("metric", "allocation", "metric", "repair", "allocation", "group")


def plan_generation(
    state: SearchState, generation: int, count: int, hints: Sequence[str], taken: set[str]
) -> list[Plan]:
    """Decide operator, parents and hint of each slot; fewer if nothing is left to propose."""
    planner = _Planner(state, generation, hints, taken)
    plans: list[Plan] = [
        Plan(slot, SWEEP, (best.alias,), recipe=recipe, direct=True)
        for slot, (best, recipe) in enumerate(swept(state, generation, count, taken))
    ]
    for slot in range(len(plans), count):
        plan = planner.plan(slot, last=slot == count - 1)
        if plan is None:
            break
        plans.append(plan)
    return plans


def plan_operator(
    state: SearchState, generation: int, operator: str, hints: Sequence[str], taken: set[str]
) -> list[Plan]:
    """Plan what one operator would do now, whether or not chosen; exploits for every part."""
    alone = state.spec.arm in ASKING_ARMS
    known = (PROPOSE,) if alone else DESIGN_OPERATORS
    if operator not in known:
        raise UnknownNameError(f"operator of the arm {state.spec.arm}", operator, known)
    planner = _Planner(state, generation, hints, taken)
    if alone:
        return [planner.propose(0)]
    plans: list[Plan] = []
    for slot in range(len(EXPLOITED) if operator == "exploit" else 1):
        plan = planner.make(slot, operator)
        if plan is not None and plan.part not in [known.part for known in plans]:
            plans.append(plan)
        planner.planned[operator] = slot + 1
    return plans


def planned_recipes(plans: Iterable[Plan]) -> list[str]:
    """Recipes of slots that need no designer, each on one line."""
    found = [plan.recipe for plan in plans if plan.recipe is not None]
    return [recipe_text(recipe, formula_text(recipe.metric)) for recipe in found]


def spare_recipe(
    state: SearchState, generation: int, slot: int, near: Recipe, taken: set[str]
) -> Recipe | None:
    """Return a replacement for a known recipe: a mutation of it or of the best.

    The arm ``random`` draws another one, as it does for every slot. Arms with a designer alone,
    Optuna or a catalogue get no replacement for duplicates: it would be the search's work, not
    theirs.
    """
    if state.spec.arm not in (*WITH_MOVES, "genetic", "random"):
        return None
    rng = stream(state.spec.seed, generation, slot, "spare")
    best = state.archive.best()
    homes = [near] if best is None or best.recipe is None else [near, best.recipe]
    for attempt in range(ATTEMPTS):
        if state.spec.arm == "random":
            found = random_recipe(rng, state.spec.choices)
        else:
            found = mutated_recipe(homes[attempt % len(homes)], rng, state.spec.choices)
        if take(found, taken):
            return found
    return None


def _worth_simplifying(entry: Entry) -> bool:
    if entry.is_program:
        return True
    return bool(formulas_of([entry])) and len(entry.formula) >= WORTH_SIMPLIFYING


class _Planner(Operators):
    # Questions of this generation: operator, parents, hint, part and model.
    asked: set[tuple[str, tuple[str, ...], str, str | None, str | None]]

    def __init__(
        self, state: SearchState, generation: int, hints: Sequence[str], taken: set[str]
    ) -> None:
        super().__init__(state, generation, hints, taken)
        self.asked = set()

    def plan(self, slot: int, *, last: bool) -> Plan | None:
        rng = stream(self.spec.seed, self.generation, slot, "plan")
        match self.spec.arm:
            case "random":
                return self._random(slot, rng)
            case "genetic":
                return self._mutate(slot, rng) or self._random(slot, rng)
            case "grid":
                return self._first(slot, "grid", catalogue(self.choices))
            case "tuned":
                found = sampled(self.state, self.generation, slot)
                if self.choices.schemes:
                    # So few that its suggestions may all be on record while others are not.
                    found = chain(found, catalogue(self.choices))
                return self._first(slot, "sample", found)
            case "whole" | "none":
                return self._with_moves(slot, rng, last=last)
        return self.propose(slot)

    def propose(self, slot: int) -> Plan:
        """Plan the question for a whole recipe that arms with a designer alone ask."""
        return Plan(slot, PROPOSE, (), self._idea(slot), model=self._proposing_model(slot))

    def _proposing_model(self, slot: int) -> str | None:
        """Model of the designer that is asked for a whole recipe; None if there is only one."""
        if self.spec.arm in CONTROLS:
            # A choice by real results would be feedback.
            return self.models[self._place(slot) % len(self.models)]
        arms = {arm_of(PROPOSE, model): model for model in self.models}
        arm = self.state.bandit.choose(tuple(arms), self.planned)
        self.planned[arm] = self.planned.get(arm, 0) + 1
        return arms[arm]

    def _place(self, slot: int) -> int:
        """Slots of the search before this one."""
        return (self.generation - 1) * self.spec.slots + slot

    def _idea(self, slot: int) -> str:
        """One hint; none comes again before all have been given."""
        if not self.hints:
            return ""
        turn, place = divmod(self._place(slot), len(self.hints))
        order = stream(self.spec.seed, turn, 0, "ideas").sample(self.hints, len(self.hints))
        return order[place]

    def _with_moves(self, slot: int, rng: Random, *, last: bool) -> Plan | None:
        design = self._design_operators() if self.state.uses_designer else ()
        asked = {arm_of(name, model): (name, model) for name in design for model in self.models}
        arms = asked | {arm_of(name): (name, None) for name in FREE_OPERATORS}
        if last and design and self._must_ask():
            arms = asked
        while arms:
            arm = self.state.bandit.choose(tuple(arms), self.planned)
            operator, model = arms[arm]
            plan = self._other(slot, operator, model, rng)
            if plan is not None:
                self.planned[arm] = self.planned.get(arm, 0) + 1
                return replace(plan, model=model)
            arms = {name: pair for name, pair in arms.items() if pair[0] != operator}
        return self._random(slot, rng)

    def _other(self, slot: int, operator: str, model: str | None, rng: Random) -> Plan | None:
        """Plan an operator with a question that no other slot of the generation asks.

        None if it has nothing to work on, or nothing else to ask.
        """
        for _ in range(ATTEMPTS):
            plan = self._make(slot, operator, rng)
            if plan is None or plan.recipe is not None:
                return plan
            pair = tuple(sorted(plan.parents))
            shown = operator not in WITHOUT_HINT and plan.part in (None, "metric")
            question = (operator, pair, plan.hint if shown else "", plan.part, model)
            if question not in self.asked:
                self.asked.add(question)
                return plan
        return None

    def make(self, slot: int, operator: str) -> Plan | None:
        """Plan a given operator; None if it has nothing to work on."""
        return self._make(slot, operator, stream(self.spec.seed, self.generation, slot, "plan"))

    def _must_ask(self) -> bool:
        """Whether the designer has no slot yet and its share of the time allows one."""
        asked = any(self._slots_of(name) for name in DESIGN_OPERATORS)
        return not asked and self.state.asking_seconds <= FLOOR * self.state.spent.seconds

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
            case "compose":
                return self._compose(slot)
        hint = self._hint(rng)
        # Small models write "uniform" and "none" where they can, so ask them for the metric only.
        part = "metric" if self.spec.written == "expression" else None
        if operator == "explore" and part and self.judged:
            return Plan(slot, operator, (self.judged[0].alias,), hint, part=part)
        if operator in ("seed", "explore", "paradigm"):
            return Plan(slot, operator, (), hint)
        if operator == "exploit":
            return self._exploit(slot, hint)
        pool = self.ranked if operator == "combine" else self.judged
        if operator == "simplify":
            pool = [e for e in pool if _worth_simplifying(e)]
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
        """Change the best recipe, one part at a time; parts without a choice are skipped."""
        done = self.state.exploited + self._slots_of("exploit")
        best = self.state.archive.best() or self.ranked[0]
        recipe = best.known_recipe
        for turn in range(len(EXPLOITED)):
            part = EXPLOITED[(done + turn) % len(EXPLOITED)]
            formula = expression_of(recipe.metric) is not None
            if part == "metric" and not formula and self.spec.written == "expression":
                continue
            choices = {"allocation": self.choices.allocations, "repair": self.choices.repairs}
            if part in ("metric", "group") and ignores_metric(recipe):
                continue
            if part == "group" and len(self.choices.groups) < 2:
                continue
            if part in choices and len(choices[part]) < 2:
                continue
            if part == "metric" and self.spec.written != "expression":
                # Code is written as a whole; a line of it cannot be blanked out.
                return Plan(slot, "exploit", (best.alias,), hint)
            return Plan(slot, "exploit", (best.alias,), hint, part=part)
        return None
