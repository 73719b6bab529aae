"""The main loop of a search as a generator: it yields batches of steps and gets their outcomes.

Every decision follows from the outcomes, so replaying recorded outcomes rebuilds the state exactly.
All slots of a generation are planned from one frozen state, and their outcomes are used in slot
order, regardless of the order in which they arrived.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass

from autoprune.allocation.selection import UNIFORM
from autoprune.design.chat import ChatRequest
from autoprune.design.formulas import formula_text
from autoprune.design.prompts import Prompts
from autoprune.names import alias_of
from autoprune.search import graph_notes
from autoprune.search.archive import Archive, Entry
from autoprune.search.arms import arm_of
from autoprune.search.budget import evaluations_left, reason_to_stop
from autoprune.search.deadline import UNFINISHED, slots_now, starts_in_time
from autoprune.search.evaluator import Evaluator
from autoprune.search.halving import SuccessiveHalving
from autoprune.search.moves import recipe_key
from autoprune.search.planning import plan_generation, plan_operator, planned_recipes
from autoprune.search.proposer import SPARE, Proposer, Round, Slot
from autoprune.search.requests import Requests
from autoprune.search.sentinels import Sentinels
from autoprune.search.spec import SearchSpec
from autoprune.search.state import SearchState
from autoprune.search.steps import (
    Batch,
    DoneReason,
    Failed,
    Outcomes,
    Seal,
    Sealed,
    StepGenerator,
    together,
)
from autoprune.search.sweeping import SWEEP


@dataclass(frozen=True)
class Preview:
    """A prompt that would be sent."""

    operator: str
    request: ChatRequest


class SearchLoop:
    """The main loop of one search.

    Args:
        spec: What to search.
        prompts: Templates for the designer.
    """

    def __init__(self, spec: SearchSpec, prompts: Prompts) -> None:
        self.spec = spec
        self.state = SearchState(spec, Archive(spec.reference, spec.proxy, spec.fitness))
        self.archive = self.state.archive
        self._prompts = prompts
        self.evaluator = Evaluator(self.state)
        self.halving = SuccessiveHalving(self.evaluator)
        self.sentinels = Sentinels(self.state)
        self._taken: set[str] = set()
        # Why no further generation starts; None: one is running or may still start.
        self.ending: DoneReason | None = None

    def run(self) -> Generator[Batch, Outcomes, DoneReason]:
        """Run the baselines, generations until the budget ends, and the sealed measurement."""
        graph_notes.note_task(self.state)
        yield from self._baselines()
        self.state.started = len(self.state.graph.nodes)
        if self.archive.reference_entry() is None:
            return "no_baseline"
        yield from self.sentinels.begin()
        self._requests = Requests(self.state, self._prompts)
        self._proposer = Proposer(self.evaluator, self._requests, self._taken)
        while (reason := reason_to_stop(self.state)) is None:
            generation = self.state.generation + 1
            if (yield from self.sentinels.check_before(generation)):
                return self._drifted()
            if not (yield from self._generation(generation)):
                reason = "exhausted"
                break
        self.ending = reason
        yield from self.evaluator.draw_again()
        if (yield from self.sentinels.check("end")):
            return self._drifted()
        yield from self._repeat()
        if self.sentinels.drift:
            return self._drifted()
        yield from self._seal()
        return reason

    def preview(self, operator: str | None, prompts: Prompts | None) -> list[Preview]:
        """Return what the next generation would ask; empty before the reference is measured."""
        if self.archive.reference_entry() is None or not self.state.uses_designer:
            return []
        requests = Requests(self.state, prompts or self._prompts)
        generation, taken = self.state.generation + 1, set(self._taken)
        if operator is None:
            plans = plan_generation(self.state, generation, self.spec.slots, requests.hints, taken)
        else:
            plans = plan_operator(self.state, generation, operator, requests.hints, taken)
        known = planned_recipes(plans)
        return [
            Preview(plan.operator, requests.proposal(generation, plan, known).request)
            for plan in plans
            if plan.recipe is None
        ]

    # Baselines

    def _baselines(self) -> StepGenerator:
        for entry in self._hand_made():
            self.archive.add(entry)
            key = recipe_key(entry.known_recipe)
            self._taken.add(key)
            self.archive.claim("text", key, entry)
            self.evaluator.same_order(entry)
            graph_notes.note_proposal(self.state, entry)
        yield from self.evaluator.validate(list(self.archive))
        valid = [entry for entry in self.archive if entry.status == "valid"]
        if self.spec.budget.seconds is None:
            yield from self._measure_starts(valid)
        else:
            # The time the reference takes tells which of the others fit.
            first = [e for e in valid if self.archive.refers(e)][:1]
            yield from self._measure_starts(first)
            others = [e for e in valid if e not in first]
            fit = starts_in_time(self.state, others) if self.archive.reference_entry() else []
            for entry in others:
                if entry not in fit:
                    self.evaluator.accept(entry, 2, Failed(UNFINISHED, "no time was left for it"))
            yield from self._measure_starts(fit)
        reference = self.archive.reference_entry()
        if reference is None:
            return
        yield from self.evaluator.measure_reference_masks(reference)
        for entry in valid:
            if entry.status == "measured":
                self.evaluator.note(entry, 2)

    def _measure_starts(self, entries: Sequence[Entry]) -> StepGenerator:
        """Measure hand-made recipes on all selection windows, side by side."""
        if not entries:
            return
        outcomes = yield [self.evaluator.measure_step(e, 2, role="baseline") for e in entries]
        self.state.charge(outcomes.values())
        for entry in entries:
            self.evaluator.accept(entry, 2, outcomes[f"{entry.alias}.rung2"])

    def _hand_made(self) -> list[Entry]:
        entries: dict[str, Entry] = {}
        for spec in self.spec.hand_made():
            recipe = spec.recipe(self.spec.default_repair)
            # A program's source cannot serve as a name.
            parts = [spec.metric if recipe.metric.kind == "program" else recipe.metric.source]
            parts += [recipe.allocation] if recipe.allocation != UNIFORM else []
            parts += [recipe.repair] if spec.repair not in (None, "none") else []
            alias = alias_of("+".join(parts))
            while alias in entries:
                alias += f"+{recipe.group}" if not alias.endswith(recipe.group) else "+again"
            entries[alias] = Entry(alias, 0, "baseline", recipe, formula_text(recipe.metric))
        return list(entries.values())

    # One generation

    def _generation(self, generation: int) -> Generator[Batch, Outcomes, bool]:
        """Run one round of proposals; False if there is nothing to propose."""
        best = self.archive.best()
        left = self.spec.budget.candidates - self.state.spent.candidates
        count = int(min(slots_now(self.state), left, evaluations_left(self.state)))
        plans = plan_generation(self.state, generation, count, self._requests.hints, self._taken)
        if not plans:
            return False
        slots = [Slot(plan) for plan in plans]
        opened = self._proposer.open_round(generation, slots)
        # Recipes already known are measured while questions are open, if the driver can do both.
        known = Round([slot for slot in slots if slot.plan.recipe is not None])
        yield from self._proposer.fill(generation, known)
        asking = self._proposer.fill(generation, opened)
        yield from together(asking, self.halving.begin(self._made(generation), opened))
        made = self._made(generation)
        yield from self.halving.finish(made, generation)
        for entry in self.archive.designed():
            self.evaluator.refresh(entry)
        self._learn(made, best)
        yield from self.evaluator.measure_other_sparsities()
        now = self.archive.best()
        self.state.stale = 0 if now is not best else self.state.stale + 1
        self.state.generation = generation
        return True

    def _made(self, generation: int) -> list[Entry]:
        return [e for e in self.archive.designed() if e.generation == generation]

    # Learning

    def _learn(self, made: Sequence[Entry], best: Entry | None) -> None:
        """Credit operators and lessons with the generation's gain over the previous best.

        A lesson is judged by the candidates whose prompt showed it, if any was measured.
        """
        before = best or self.state.reference()
        gains: dict[str, float] = {}
        for entry in made:
            gain = 0.0
            if entry.status == "measured" and entry.rung >= 2:
                difference = self.archive.compare(entry, before)
                gain = -difference.mean if difference is not None else 0.0
            if entry.status == "measured":
                gains[entry.alias] = gain
            self.state.exploited += entry.operator == "exploit"
            if entry.operator not in (SPARE, SWEEP):
                whole = entry.whole_seconds
                tokens = entry.tokens * self.state.price_of(entry.model)
                used = {"seconds": entry.seconds - whole, "whole": whole, "tokens": tokens}
                self.state.bandit.update(arm_of(entry.operator, entry.model), gain, **used)
        for alias, taught in self._proposer.lessons_shown.items():
            judged = [gains[entry.alias] for entry in taught if entry.alias in gains]
            lesson, helped = self.state.lessons[alias], any(gain > 0 for gain in judged)
            lesson.helpful += helped
            lesson.harmful += bool(judged) and not helped

    # The ends

    def _repeat(self) -> StepGenerator:
        """Prune once more by the recipe to be sealed; where it gives other masks, by the next."""
        while (wanted := self.archive.winner() or self.archive.best()) is not None:
            fault = yield from self.sentinels.repeat(wanted)
            if fault is None:
                return
            self.evaluator.accept(wanted, 2, fault)

    def _seal(self) -> StepGenerator:
        """Measure the winner, the best entries and the baselines on the sealed split, once."""
        graph_notes.note_margins(self.state)
        wanted = [self.archive.winner(), self.archive.best(designed=True), self.archive.best()]
        wanted += [e for e in self.archive if e.is_baseline and e.status == "measured"]
        chosen = {e.alias: e for e in wanted if e is not None}
        recipes = tuple((e.alias, e.recipe) for e in chosen.values() if e.recipe is not None)
        shares = {alias: self.state.share_of(alias) for alias, _ in recipes}
        each = self.spec.sparsity if self.spec.target.unit == "sparsity" else shares
        step = Seal("sealed", recipes, self.spec.sealed_windows, each)
        outcomes = yield [step]
        self.state.charge(outcomes.values())
        outcome = outcomes["sealed"]
        if isinstance(outcome, Failed):
            outcome = Sealed({}, failures=dict.fromkeys(chosen, outcome))
        assert isinstance(outcome, Sealed)
        for alias, entry in chosen.items():
            entry.sealed = outcome.measurements.get(alias)
            if entry.sealed is not None:
                graph_notes.note_result(self.state, entry, "sealed", entry.sealed)
            else:
                nothing = Failed("missing", "no figure came back")
                graph_notes.note_unsealed(self.state, entry, outcome.failures.get(alias, nothing))

    def _drifted(self) -> DoneReason:
        """End without sealing because of drift, and note this for the winner."""
        winner = self.archive.winner()
        if winner is not None:
            graph_notes.note_unsealed(self.state, winner, Failed("drift", self.sentinels.drift))
        return "drift"
