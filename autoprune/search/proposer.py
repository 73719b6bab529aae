"""From plans to readable entries: ask, read, validate, and ask again where that helps."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace

from autoprune.design.chat import ChatRequest, Reply
from autoprune.design.fields import without_thoughts
from autoprune.design.formulas import formula_text
from autoprune.design.parsing import (
    AnswerForm,
    Proposal,
    Unreadable,
    read_answer,
    read_lesson,
)
from autoprune.design.parts import ignores_metric
from autoprune.design.shown import change_in
from autoprune.recipe import Recipe
from autoprune.search import graph_notes
from autoprune.search.archive import Entry
from autoprune.search.arms import SHOWN_GRAPH
from autoprune.search.budget import answers_left
from autoprune.search.evaluator import Evaluator
from autoprune.search.moves import recipe_key
from autoprune.search.operators import Plan
from autoprune.search.planning import planned_recipes, spare_recipe
from autoprune.search.requests import Requests
from autoprune.search.steps import (
    Batch,
    Failed,
    Outcome,
    Outcomes,
    Propose,
    StepGenerator,
    WorkStep,
    charged_seconds,
)
from autoprune.search.tries import Tries

REFLECT_EVERY = 3
# Failures worth one more call; repeating any other teaches nothing.
REPAIRABLE = frozenset(
    {"empty", "truncated", "no_metric", "bad_metric", "no_code", "bad_code", "bad_choice"}
    | {"nan_scores", "non_finite", "wrong_shape", "wrong_dtype", "wrong_type", "constant_scores"}
    | {"mutated_input", "not_equivariant", "scale_unstable", "depends_on_batch", "exception"}
)
# Operator that replaces a duplicate; not chosen by the bandit.
SPARE = "spare"


@dataclass
class Slot:
    """One slot on its way through a generation.

    Args:
        form: What the answer may hold, as of when the question was written.
    """

    plan: Plan
    form: AnswerForm | None = None
    request: ChatRequest | None = None
    answer: str = ""
    entry: Entry | None = None
    lessons: tuple[str, ...] = ()
    repaired: int = 0
    spared: bool = False
    tried: bool = False


@dataclass(frozen=True)
class Round:
    """Slots with their first questions, written before anything of the generation is recorded.

    Args:
        slots: Slots to fill.
        steps: Their questions, including the one for a lesson; slots with a recipe need none.
        pair: A better and a worse entry, by the shown results, to learn the lesson from.
    """

    slots: Sequence[Slot]
    steps: Sequence[WorkStep] = ()
    pair: tuple[Entry, Entry] | None = None


class Proposer:
    """Fills the slots of a generation.

    Args:
        evaluator: Validates entries; shared by the whole search.
        requests: Builds requests.
        taken: Keys of recipes on record; grows.
    """

    def __init__(self, evaluator: Evaluator, requests: Requests, taken: set[str]) -> None:
        self.evaluator = evaluator
        self.state = evaluator.state
        self.spec = evaluator.spec
        self.archive = evaluator.archive
        self._requests = requests
        self._taken = taken
        self._tries = Tries(evaluator.state, lambda: requests.graph)
        # Entries of the current generation whose prompts showed a lesson, by lesson.
        self.lessons_shown: dict[str, list[Entry]] = {}

    def open_round(self, generation: int, slots: Sequence[Slot]) -> Round:
        """Write the first questions; slots that the budget cannot pay for may get a mutation."""
        self.lessons_shown = {}
        kept, room = self._within_tokens(generation, slots, 0)
        asked = [slot for slot in kept if slot.plan.recipe is None]
        planned = planned_recipes(slot.plan for slot in kept)
        steps = self._questions(generation, asked, 0, planned)
        pair = self._pair(generation) if room >= 1 else None
        if pair is not None:
            request = self._requests.lesson(generation, *pair)
            steps.append(Propose(f"g{generation}.lesson", generation, 0, "reflect", request))
        return Round(asked, steps, pair)

    def fill(self, generation: int, opened: Round) -> StepGenerator:
        """Ask, read, validate and repair until no slot gets another attempt."""
        active, steps, pair = list(opened.slots), opened.steps, opened.pair
        # One attempt more than repairs, since a duplicate is replaced without asking again.
        for attempt in range(self.spec.repair_calls + 2):
            if attempt > 0:
                active, _ = self._within_tokens(generation, active, attempt)
                steps = self._questions(generation, active, attempt)
            outcomes = (yield steps) if steps else {}
            asked = {s.step_id: s.request.model for s in steps if isinstance(s, Propose)}
            self.state.charge(outcomes.values(), map(asked.get, outcomes))
            self.state.asking_seconds += sum(map(charged_seconds, outcomes.values()))
            outcomes = _with_even_waits(outcomes)
            outcomes = yield from self._after_tries(active, steps, outcomes)
            for slot in active:
                step_id = f"g{generation}.s{slot.plan.slot}.a{attempt}"
                self._enter(generation, slot, outcomes.get(step_id))
            if pair is not None:
                step_id = f"g{generation}.lesson"
                self._keep_lesson(step_id, outcomes[step_id], *pair)
                pair = None
            fresh = [s.entry for s in active if s.entry and s.entry.status == "proposed"]
            yield from self.evaluator.validate(fresh)
            active = [slot for slot in active if self._may_go_on(generation, slot)]
            active = self._affordable(active)
            if not active:
                return

    def _after_tries(
        self, slots: Sequence[Slot], steps: Sequence[WorkStep], outcomes: Outcomes
    ) -> Generator[Batch, Outcomes, Outcomes]:
        """Return the answers; if one tries a design first, the answer given after its tries."""
        asked = {
            step.step_id: (slot, step)
            for step in steps
            for slot in slots
            if isinstance(step, Propose) and slot.request is step.request and not slot.tried
        }
        room = answers_left(self.state, repair=True)
        if not asked or room < 1:
            return outcomes
        forms = {name: slot.form for name, (slot, _) in asked.items() if slot.form}
        first = {name: step for name, (_, step) in asked.items()}
        later = yield from self._tries.follow(first, outcomes, forms, room)
        for name, (request, _) in later.items():
            slot, _ = asked[name]
            slot.request, slot.tried = request, True
        return {**outcomes, **{name: outcome for name, (_, outcome) in later.items()}}

    def _within_tokens(
        self, generation: int, slots: Sequence[Slot], attempt: int
    ) -> tuple[list[Slot], float]:
        """Return the slots that the budget pays for; a mutation may replace a first answer.

        Also returns the number of answers left after them.
        """
        room = answers_left(self.state, repair=attempt > 0)
        kept = []
        for slot in slots:
            if slot.plan.recipe is None:
                room -= 1
                if room < 0 and not self._replace(generation, slot):
                    continue
            kept.append(slot)
        return kept, room

    def _replace(self, generation: int, slot: Slot) -> bool:
        """Give a slot a mutation of the best instead of its first question, if possible."""
        best = self.archive.best() or self.state.reference()
        if slot.entry is not None or best.recipe is None:
            return False
        place = slot.plan.slot
        found = spare_recipe(self.state, generation, place, best.recipe, self._taken)
        if found is not None:
            slot.plan = Plan(place, "mutate", (best.alias,), recipe=found)
        return found is not None

    def _questions(
        self, generation: int, slots: Sequence[Slot], attempt: int, planned: Sequence[str] = ()
    ) -> list[WorkStep]:
        steps: list[WorkStep] = []
        for slot in slots:
            if slot.plan.recipe is not None:
                continue
            operator = slot.plan.operator
            if slot.request is None:
                slot.form = self._requests.form(slot.plan)
                question = self._requests.proposal(generation, slot.plan, planned)
                slot.request = asked = question.request
                slot.lessons = question.lessons
            else:
                assert slot.entry is not None
                error = slot.entry.detail or slot.entry.code
                asked = self._requests.repair(slot.request, slot.answer, error, attempt)
                operator = "repair"
            step_id = f"g{generation}.s{slot.plan.slot}.a{attempt}"
            steps.append(Propose(step_id, generation, slot.plan.slot, operator, asked))
        return steps

    def _enter(self, generation: int, slot: Slot, outcome: Outcome | None) -> None:
        """Record the attempt of a slot."""
        plan = slot.plan
        # A mutation in a duplicate's place repairs nothing.
        repaired = slot.entry.alias if slot.entry and plan.operator != SPARE else None
        # A replacement for a duplicate takes the duplicate's place in the budget.
        self.state.spent.candidates += plan.operator != SPARE
        order = len(self.archive.designed()) + 1
        entry = Entry(f"C{order}", order, plan.operator, plan.recipe)
        entry.generation, entry.slot, entry.parents = generation, plan.slot, plan.parents
        entry.repaired, entry.direct, entry.model = repaired, plan.direct, plan.model
        slot.entry = self.archive.add(entry)
        if isinstance(outcome, Reply):
            assert slot.form is not None
            slot.answer = without_thoughts(outcome.text)
            for lesson in slot.lessons:
                self.lessons_shown.setdefault(lesson, []).append(entry)
            entry.tokens, entry.seconds = outcome.usage.total, charged_seconds(outcome)
            found = read_answer(outcome, slot.form)
            entry.because = found.because
            if isinstance(found, Unreadable):
                entry.reject(found.code, found.detail)
            else:
                self._fill(entry, found)
        elif isinstance(outcome, Failed):
            entry.seconds = charged_seconds(outcome)
            entry.reject(outcome.code, outcome.detail)
        if entry.recipe is None:
            graph_notes.note_unreadable(self.state, entry)
            return
        entry.recipe = self._settled(entry.recipe)
        entry.formula = formula_text(entry.recipe.metric)
        if plan.term is not None:
            self.state.terms[entry.alias] = plan.term
        graph_notes.note_proposal(self.state, entry)
        key = recipe_key(entry.recipe)
        self._taken.add(key)
        self.evaluator.share(entry, self.archive.claim("text", key, entry))
        if entry.status == "proposed":
            self._share_order(entry)

    def _share_order(self, entry: Entry) -> None:
        """Mark an entry as a duplicate, before measuring, if an older one orders rows the same."""
        owner = self.evaluator.same_order(entry)
        if owner is not None:
            self.evaluator.share(entry, owner)
            entry.detail = (
                f"{entry.formula} orders the weights of each row as {owner.formula} does, so it is "
                f"{owner.alias} in group row; write a formula that weighs columns otherwise"
            )

    def _settled(self, recipe: Recipe) -> Recipe:
        """Return the recipe with the reference's metric if its own has no effect.

        Such a metric could only fail in the sandbox or spoil the masks that few windows judge. The
        recipe would then count as known, and would never be tried with a sound metric.
        """
        known = self.state.reference().recipe
        if known is None or not ignores_metric(recipe):
            return recipe
        return replace(recipe, metric=known.metric)

    def _fill(self, entry: Entry, proposal: Proposal) -> None:
        entry.prediction = proposal.prediction
        entry.recipe = proposal.recipe

    def _affordable(self, slots: Sequence[Slot]) -> list[Slot]:
        room = self.spec.budget.candidates - self.state.spent.candidates
        chosen = []
        for slot in slots:
            costs = slot.plan.operator != SPARE
            if room >= costs:
                room -= costs
                chosen.append(slot)
        return chosen

    def _may_go_on(self, generation: int, slot: Slot) -> bool:
        """Whether a failed slot gets one more attempt: another recipe for a duplicate, or a repair.

        A small model that repeats a known recipe does so again when asked again, and an answer
        takes seconds; a mutation near what it meant takes none.
        """
        entry = slot.entry
        if entry is None or entry.status not in ("rejected", "duplicate"):
            return False
        if entry.status == "duplicate":
            if slot.spared or entry.recipe is None:
                return False
            found = spare_recipe(self.state, generation, slot.plan.slot, entry.recipe, self._taken)
            if found is None:
                return False
            slot.spared = True
            drawn = self.spec.arm == "random"
            parents = () if drawn else (str(entry.duplicate_of),)
            slot.plan = Plan(slot.plan.slot, SPARE, parents, recipe=found)
            return True
        if slot.plan.recipe is not None or slot.repaired >= self.spec.repair_calls:
            return False
        slot.repaired += 1
        # What a scheme names may not fit the model, such as rates for another number of blocks.
        return entry.code in REPAIRABLE or bool(self.spec.schemes and entry.code == "invalid")

    def _pair(self, generation: int) -> tuple[Entry, Entry] | None:
        """Every few generations, return a better and a clearly worse entry to learn from.

        Better and worse as the designer is shown it, which alone a placebo may reveal.
        """
        # A designer that is not shown the graph never sees a lesson.
        if self.spec.arm not in SHOWN_GRAPH or generation % REFLECT_EVERY:
            return None
        measured = [e for e in self.archive.measured() if not e.is_baseline]
        if len(measured) < 2:
            return None
        difference = self.archive.compare(measured[0], measured[len(measured) // 2])
        if difference is None or not difference.better:
            return None
        graph = self._requests.graph

        def shown(entry: Entry) -> float:
            return change_in(graph, entry.alias) or 0.0

        if self.spec.arm == "graph-permuted":
            # Asked as often as otherwise, but of another pair.
            measured.sort(key=lambda entry: (shown(entry), entry.order))
        better, worse = sorted((measured[0], measured[len(measured) // 2]), key=shown)
        return better, worse

    def _keep_lesson(self, step_id: str, outcome: Outcome, better: Entry, worse: Entry) -> None:
        text = read_lesson(outcome) if isinstance(outcome, Reply) else None
        if text is not None:
            graph_notes.note_lesson(self.state, text, step_id, better.alias, worse.alias)


def _with_even_waits(outcomes: Outcomes) -> Outcomes:
    """Spread the waiting time evenly over a round's answers: which came first is chance."""
    answers = {key: o for key, o in outcomes.items() if isinstance(o, Reply | Failed)}
    waits = [o.waited for o in answers.values() if o.waited is not None]
    if not waits or len(waits) < len(outcomes):
        return outcomes
    return {key: replace(o, waited=sum(waits) / len(waits)) for key, o in answers.items()}
