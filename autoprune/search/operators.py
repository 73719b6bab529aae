"""Operators that need no designer: each turns what is known into the recipe of one slot."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain as chain_of
from random import Random

from autoprune.design.formulas import expression_of, extended, reduced
from autoprune.design.graph import parent_weights, worth_of_factors
from autoprune.design.parts import chain, ignores_metric
from autoprune.recipe import Recipe
from autoprune.search.archive import Entry
from autoprune.search.arms import arm_of, models_of
from autoprune.search.catalogue import catalogue
from autoprune.search.moves import (
    crossed_recipe,
    mutated_metric,
    mutated_recipe,
    random_recipe,
    recombined,
    take,
)
from autoprune.search.randomness import stream_seed
from autoprune.search.state import SearchState
from autoprune.search.sweeping import WITH_MOVES
from autoprune.search.tuners import tuned

ATTEMPTS = 12
POOL = 8


@dataclass(frozen=True)
class Plan:
    """What one slot does.

    Args:
        parents: Aliases that the operator works on, the main one first.
        hint: One idea for the designer.
        recipe: Set when no LLM is needed.
        term: Term that an ablation leaves out or an extension adds.
        part: The only part that the designer may write; the rest is the first parent's.
        direct: Few windows and masks alone cannot judge it.
        model: Model that is asked, if there are several; None: the only one, or none.
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


def formulas_of(entries: Sequence[Entry]) -> list[Entry]:
    """Entries whose metric is a formula."""
    return [e for e in entries if e.recipe and expression_of(e.recipe.metric) is not None]


class Operators:
    """Operators of one generation that need no designer.

    Args:
        state: What is known; frozen while a generation is planned.
        generation: Generation being planned.
        taken: Keys of recipes on record; planned recipes are added.
    """

    def __init__(
        self, state: SearchState, generation: int, hints: Sequence[str], taken: set[str]
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
        self.formulas = formulas_of(self.ranked)
        # Entries for which another metric would make a difference.
        self.judged = [e for e in self.ranked if e.recipe and not ignores_metric(e.recipe)]

    def _take(self, recipe: Recipe) -> bool:
        return take(recipe, self.taken)

    def _slots_of(self, operator: str) -> int:
        """Number of this generation's slots that an operator has, over all models."""
        arms = {arm_of(operator), *(arm_of(operator, model) for model in self.models)}
        return sum(self.planned.get(arm, 0) for arm in arms)

    def _first(self, slot: int, operator: str, recipes: Iterable[Recipe]) -> Plan | None:
        found = (recipe for recipe in recipes if self._take(recipe))
        recipe = next(found, None)
        return None if recipe is None else Plan(slot, operator, (), recipe=recipe)

    def _parent(self, rng: Random, entries: Sequence[Entry]) -> Entry:
        """Draw a measured entry, with a probability that falls as one over the rank.

        The reasoning graph also favours parents that led to gains over those that led to none;
        genetic programming, which it is compared with, knows only ranks.
        """
        pool = entries[:POOL]
        weights = [1.0 / (rank + 1) for rank in range(len(pool))]
        if self.spec.arm in WITH_MOVES:
            weights = parent_weights(self.state.graph, [entry.alias for entry in pool])
        return rng.choices(pool, weights)[0]

    def _random(self, slot: int, rng: Random) -> Plan | None:
        """Draw a recipe not on record; None once all schemes, which are finite, are used up."""
        while not self.choices.schemes:
            recipe = random_recipe(rng, self.choices)
            if self._take(recipe):
                return Plan(slot, "random", (), recipe=recipe)
        drawn = (random_recipe(rng, self.choices) for _ in range(ATTEMPTS))
        return self._first(slot, "random", chain_of(drawn, catalogue(self.choices)))

    def _mutate(self, slot: int, rng: Random) -> Plan | None:
        for _ in range(ATTEMPTS):
            first, second = (self._parent(rng, self.ranked) for _ in range(2))
            parents: tuple[str, ...] = (first.alias,)
            if first.alias != second.alias and rng.random() < 0.3:
                recipe = crossed_recipe(first.known_recipe, second.known_recipe, rng)
                parents = (first.alias, second.alias)
            else:
                recipe = mutated_recipe(first.known_recipe, rng, self.choices)
            if self._take(recipe):
                return Plan(slot, "mutate", parents, recipe=recipe)
        for _ in range(ATTEMPTS):
            # With few entries, only changes of the formula may lead to unknown neighbours.
            best = self.ranked[0]
            recipe = mutated_metric(best.known_recipe, rng, self.choices)
            if self._take(recipe):
                return Plan(slot, "mutate", (best.alias,), recipe=recipe)
        return None

    def _recombine(self, slot: int) -> Plan | None:
        """Recombine the best untried pair: metric of one, allocation and repair of the other.

        Entries worse than the reference have no part worth reusing in another recipe.
        """
        pool = [entry for entry in self.ranked[:POOL] if entry.score <= 0.0]
        pairs = [
            (one, other, i + j)
            for i, one in enumerate(pool)
            for j, other in enumerate(pool)
            if i != j
        ]
        for one, other, _ in sorted(pairs, key=lambda pair: pair[2]):
            recipe = recombined(one.known_recipe, other.known_recipe)
            if self._take(recipe):
                return Plan(slot, "recombine", (one.alias, other.alias), recipe=recipe)
        return None

    def _ablate(self, slot: int) -> Plan | None:
        """Leave out a term of the best recipe, then of the next ones."""
        programs = [e for e in self.ranked if e.is_program]
        for entry in (programs if self.spec.written == "program" else self.formulas)[:3]:
            for smaller in reduced(entry.known_recipe.metric):
                recipe = replace(entry.known_recipe, metric=smaller.candidate)
                if self._take(recipe):
                    parents = (entry.alias,)
                    return Plan(slot, "ablate", parents, recipe=recipe, term=smaller.dropped)
        return None

    def _extend(self, slot: int) -> Plan | None:
        """Add a factor to the best formula, starting with what helped another formula most.

        The formula is that of the best recipe whose masks were measured alone, since a factor's
        worth is read from masks alone. The seed orders factors of unknown worth: a fixed order
        would decide what a search without facts finds.
        """
        home = next((e for e in self.formulas if self._shows_factors(e)), None)
        if home is None or home.recipe is None:
            return None
        across = home.recipe.group != "row"
        terminals = self.choices.statistics
        worth = worth_of_factors(self.state.graph)
        for longer in sorted(
            extended(home.recipe.metric, terminals, across_rows=across),
            # The opposite of a factor that hurts is expected to help, at half the size.
            key=lambda e: (
                worth.get(e.added, -0.5 * worth.get(e.opposite, 0.0)),
                stream_seed(self.spec.seed, 0, 0, f"extend {e.added}"),
            ),
        ):
            recipe = replace(home.recipe, metric=longer.candidate)
            if self._take(recipe):
                parents = (home.alias,)
                return Plan(slot, "extend", parents, recipe=recipe, term=longer.added)
        return None

    def _shows_factors(self, entry: Entry) -> bool:
        known = self.state.archive.cheap(entry)
        return known is not None and not ignores_metric(entry.known_recipe)

    def _compose(self, slot: int) -> Plan | None:
        """Use the mask of one repair with the weights of another, on the best masks so far.

        Those that share a part with the best's repair come first; the seed orders the rest.
        """
        best = self.state.archive.best()
        if best is None or best.recipe is None:
            return None
        own = set(chain(best.recipe.repair).split("+"))
        for repair in sorted(
            self.choices.compositions,
            key=lambda text: (
                not own & set(chain(text).split("+")),
                stream_seed(self.spec.seed, 0, 0, f"compose {text}"),
            ),
        ):
            recipe = replace(best.recipe, repair=repair)
            if self._take(recipe):
                return Plan(slot, "compose", (best.alias,), recipe=recipe, direct=True)
        return None

    def _tune(self, slot: int) -> Plan | None:
        turn = self._slots_of("tune") + sum(e.operator == "tune" for e in self.state.archive)
        for trial in tuned(self.state, self.ranked, (self.generation, slot), turn):
            if self._take(trial.recipe):
                where = (slot, "tune", trial.parents)
                return Plan(*where, recipe=trial.recipe, direct=trial.direct)
        return None
