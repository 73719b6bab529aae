"""From plans to readable entries: ask, read, validate, and ask again where that helps."""

from collections.abc import Sequence
from dataclasses import dataclass

from autoprune.design.chat import ChatRequest, Reply
from autoprune.design.formulas import formula_text
from autoprune.design.parsing import (
    AnswerForm,
    Proposal,
    Unreadable,
    read_answer,
    read_lesson,
)
from autoprune.recipe import Recipe
from autoprune.search import chronicle
from autoprune.search.archive import Entry
from autoprune.search.planning import Plan, recipe_key
from autoprune.search.requests import Requests
from autoprune.search.steps import Course, Failed, Outcome, Propose, WorkStep
from autoprune.search.trials import Trials

REFLECT_EVERY = 3
# A repeated, foreseeable failure teaches nothing; these are worth one more call.
REPAIRABLE = frozenset(
    {"empty", "truncated", "no_metric", "bad_metric", "no_code", "bad_code", "bad_choice"}
    | {"duplicate", "nan_scores", "non_finite", "wrong_shape", "constant_scores", "exception"}
)


@dataclass
class Slot:
    """One slot on its way through a generation."""

    plan: Plan
    request: ChatRequest | None = None
    asked: ChatRequest | None = None
    answer: str = ""
    entry: Entry | None = None


class Designs:
    """Fills the slots of a generation.

    Args:
        trials: Validates entries; shared by the whole search.
        requests: Builds requests.
        taken: Keys of recipes on record; grows.
    """

    def __init__(self, trials: Trials, requests: Requests, taken: set[str]) -> None:
        self.trials = trials
        self.state = trials.state
        self.spec = trials.spec
        self.archive = trials.archive
        self._requests = requests
        self._taken = taken

    def design(self, generation: int, slots: Sequence[Slot]) -> Course:
        """Propose, read and validate, with repairs, until each slot has what it can have."""
        active = list(slots)
        for attempt in range(self.spec.repairs + 1):
            pair = self._pair(generation) if attempt == 0 else None
            steps = self._questions(generation, active, attempt)
            if pair is not None:
                request = self._requests.lesson(generation, *pair)
                steps.append(Propose(f"g{generation}.lesson", generation, 0, "reflect", request))
            outcomes = (yield steps) if steps else {}
            self.state.charge(outcomes.values())
            # Aliases may be rendered into answers only as they stood when the slots were planned.
            form = self._requests.form()
            for slot in active:
                step_id = f"g{generation}.s{slot.plan.slot}.a{attempt}"
                self._enter(generation, slot, outcomes.get(step_id), form)
            if pair is not None:
                self._keep_lesson(outcomes[f"g{generation}.lesson"], *pair)
            fresh = [s.entry for s in active if s.entry and s.entry.status == "proposed"]
            yield from self.trials.validate(fresh)
            active = [slot for slot in active if self._may_repair(slot)]
            room = self.spec.budget.candidates - self.state.spent.candidates
            active = active[: max(0, room)]
            if not active:
                return

    def _questions(self, generation: int, slots: Sequence[Slot], attempt: int) -> list[WorkStep]:
        steps: list[WorkStep] = []
        for slot in slots:
            if slot.plan.recipe is not None:
                continue
            operator = slot.plan.operator
            if slot.request is None:
                slot.request = slot.asked = self._requests.proposal(generation, slot.plan)
            else:
                assert slot.entry is not None
                error = slot.entry.detail or slot.entry.code
                slot.asked = self._second(generation, slot, slot.request, error, attempt)
                operator = "repair"
            step_id = f"g{generation}.s{slot.plan.slot}.a{attempt}"
            steps.append(Propose(step_id, generation, slot.plan.slot, operator, slot.asked))
        return steps

    def _second(
        self, generation: int, slot: Slot, first: ChatRequest, error: str, attempt: int
    ) -> ChatRequest:
        assert slot.entry is not None
        if slot.entry.code == "duplicate":
            return self._requests.again(generation, slot.plan, first, error)
        return self._requests.repair(first, slot.answer, error, attempt)

    def _enter(
        self, generation: int, slot: Slot, outcome: Outcome | None, form: AnswerForm
    ) -> None:
        """Put the attempt of a slot on record."""
        repaired = slot.entry.alias if slot.entry else None
        self.state.spent.candidates += 1
        order = self.state.spent.candidates
        plan = slot.plan
        entry = Entry(f"C{order}", order, plan.operator, plan.recipe)
        entry.generation, entry.slot, entry.parents = generation, plan.slot, plan.parents
        entry.repaired = repaired
        slot.entry = self.archive.add(entry)
        if isinstance(outcome, Reply):
            slot.answer = outcome.text
            entry.tokens, entry.seconds = outcome.usage.total, outcome.seconds
            found = read_answer(outcome, form)
            entry.because = found.because
            if isinstance(found, Unreadable):
                entry.reject(found.code, found.detail)
            else:
                self._fill(entry, found)
        elif isinstance(outcome, Failed):
            entry.seconds = outcome.seconds
            entry.reject(outcome.code, outcome.detail)
        if entry.recipe is None:
            chronicle.note_unreadable(self.state, entry)
            return
        entry.formula = formula_text(entry.recipe.metric)
        if plan.dropped is not None:
            self.state.dropped_terms[entry.alias] = plan.dropped
        chronicle.note_proposal(self.state, entry)
        key = recipe_key(entry.recipe)
        self._taken.add(key)
        self.trials.share(entry, self.archive.claim("text", key, entry))

    def _fill(self, entry: Entry, proposal: Proposal) -> None:
        entry.prediction = proposal.prediction
        entry.recipe = Recipe(
            proposal.candidate, proposal.group, proposal.allocation, self.spec.solver
        )

    def _may_repair(self, slot: Slot) -> bool:
        entry = slot.entry
        if entry is None or slot.plan.recipe is not None:
            return False
        return entry.status in ("rejected", "duplicate") and entry.code in REPAIRABLE

    def _pair(self, generation: int) -> tuple[Entry, Entry] | None:
        """A clearly better and a clearly worse entry to learn from, now and then."""
        if not self.state.uses_designer or generation % REFLECT_EVERY:
            return None
        measured = [e for e in self.archive.measured() if not e.is_baseline]
        if len(measured) < 2:
            return None
        better, worse = measured[0], measured[len(measured) // 2]
        difference = self.archive.compare(better, worse)
        return (better, worse) if difference is not None and difference.better else None

    def _keep_lesson(self, outcome: Outcome, better: Entry, worse: Entry) -> None:
        text = read_lesson(outcome) if isinstance(outcome, Reply) else None
        if text is not None:
            chronicle.note_lesson(self.state, text, better.alias, worse.alias)
