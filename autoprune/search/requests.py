"""Turns plans into requests for the designer."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from autoprune.design.chat import ChatRequest, Message
from autoprune.design.formulas import Blank, blanked
from autoprune.design.grammar import answer_grammar, lesson_grammar
from autoprune.design.graph import Graph
from autoprune.design.parsing import AnswerForm
from autoprune.design.parts import FORMULA, STRENGTHS, drawn_terms, family
from autoprune.design.prompts import Prompts
from autoprune.design.render import Focus, Rendered, Scene, render_prompt
from autoprune.design.repairs import example
from autoprune.design.schema import answer_schema, lesson_schema
from autoprune.design.scheme_moves import genes_text, usual_text
from autoprune.design.sections import bar, ranked
from autoprune.design.shown import permuted
from autoprune.errors import LONGEST_DETAIL
from autoprune.masking import parse_pattern
from autoprune.metrics.language import gbnf
from autoprune.recipe import Recipe
from autoprune.search.archive import Entry, Fitness
from autoprune.search.arms import PROPOSE, SHOWN_GRAPH
from autoprune.search.budget import generation_in_words, generations_left, left_in_words
from autoprune.search.operators import Plan
from autoprune.search.randomness import stream, stream_seed
from autoprune.search.state import SearchState
from autoprune.search.tries import offered, quoted

# What orders recipes in the table of a prompt, which shows changes of perplexity.
RANKED_BY: dict[Fitness, str] = {
    "perplexity": "",
    "kl": "the distance (KL) to the dense model, which decides",
    "both": "perplexity and the distance (KL) to the dense model together, which decide",
}


@dataclass(frozen=True)
class BuiltRequest:
    """A request and what it was built from.

    Args:
        request: What is sent.
        lessons: Aliases of the lessons that its prompt shows.
    """

    request: ChatRequest
    lessons: tuple[str, ...]


class Requests:
    """Builds the requests of one search.

    Args:
        state: Read, never changed.
        prompts: Templates.
    """

    def __init__(self, state: SearchState, prompts: Prompts) -> None:
        self.state = state
        self.spec = state.spec
        self.choices = state.spec.choices
        self.prompts = prompts
        ideas = "program_hints" if self.spec.written == "program" else "hints"
        wanted = self.spec.designer.hints and not self.spec.schemes
        hints = prompts.render(ideas).splitlines() if wanted else []
        # At N:M all weights of a row's group compete, whatever the group is called.
        apart = "matrix" in self.choices.groups
        self.hints = [h for h in hints if h.strip() and (apart or "group matrix" not in h)]
        self._formula = gbnf(("W", *self.choices.statistics))

    def form(self, plan: Plan) -> AnswerForm:
        """Return what an answer may hold now; parts that it leaves out are the parent's."""
        parent = self.state.archive[plan.parents[0]] if plan.parents else None
        return AnswerForm(
            self.spec.written,
            self.choices.groups,
            self.choices.allocations,
            self._measured(),
            ("W", *self.choices.statistics),
            self.choices.all_repairs,
            self.choices.ranges,
            base=parent.recipe if parent is not None else None,
            part=plan.part,
            schemes=self.choices.schemes,
        )

    @property
    def graph(self) -> Graph:
        """The graph as shown to the designer."""
        whole = self.state.graph
        match self.spec.arm:
            case "graph-permuted":
                born = {entry.alias: entry.generation for entry in self.state.archive}
                # best-of-n sees the true starts too, so only what comes later is a placebo.
                starts = {entry.alias for entry in self.state.archive if entry.is_baseline}
                return permuted(whole, self.spec.seed, starts, born)
            case "best-of-n":
                return whole.beginning(self.state.started)
        return whole

    def proposal(self, generation: int, plan: Plan, planned: Sequence[str] = ()) -> BuiltRequest:
        """Build the first question of a slot."""
        blank = self._blank(generation, plan)
        shown = blank.shown if blank else ""
        base = self.form(plan).base
        hint, place = _fitting_hint(plan, base), ""
        alike = plan.operator == PROPOSE or bool(self.spec.schemes)
        if alike and not self.hints and self.spec.slots > 1:
            # Ideas tell the questions of a generation apart; without them, all would be one.
            place = f"question {plan.slot + 1} of {self.spec.slots} that are asked at once"
        focus = Focus(plan.parents, hint, plan.part, shown, planned, place=place)
        prompt = self._render(plan.operator, focus)
        request = ChatRequest(
            messages=prompt.messages,
            max_tokens=self.spec.designer.answer_tokens,
            temperature=self.spec.designer.temperature,
            seed=stream_seed(self.spec.seed, generation, plan.slot, "answer"),
            model=plan.model,
        )
        request = offered(self.state, request)
        return BuiltRequest(self._constrained(request, plan, blank), prompt.lessons)

    def _blank(self, generation: int, plan: Plan) -> Blank | None:
        """Blank out a place in the parent's formula, so that a small model cannot repeat it.

        A designer that answers in files writes the whole formula: no grammar is enforced there.
        """
        designer = self.spec.designer
        enforced = designer.grammar and designer.kind != "files"
        if plan.operator != "exploit" or plan.part != "metric" or not enforced:
            return None
        recipe = self.state.archive[plan.parents[0]].recipe
        rng = stream(self.spec.seed, generation, plan.slot, "blank")
        return blanked(recipe.metric, rng) if recipe is not None else None

    def repair(self, first: ChatRequest, answer: str, error: str, attempt: int) -> ChatRequest:
        """Build the request that shows a designer its failed answer and one line on why."""
        complaint = self.prompts.render("operators/repair", error=error[:LONGEST_DETAIL])
        shown = quoted(answer, self.spec) or "(nothing)"
        turns = (Message("assistant", shown), Message("user", complaint))
        return replace(first, messages=first.messages + turns, seed=first.seed + attempt)

    def lesson(self, generation: int, better: Entry, worse: Entry) -> ChatRequest:
        """Build the request for one lesson from a pair, ordered as the shown results rank it."""
        constrained = self.spec.designer.grammar
        return ChatRequest(
            messages=self._render("reflect", Focus((better.alias, worse.alias))).messages,
            max_tokens=self.spec.designer.answer_tokens,
            temperature=self.spec.designer.temperature,
            seed=stream_seed(self.spec.seed, generation, 0, "lesson"),
            grammar=lesson_grammar() if constrained else None,
            schema=lesson_schema() if constrained else None,
        )

    def _render(self, operator: str, focus: Focus) -> Rendered:
        # Tallies follow from real results, of which the placebo must show none.
        blank = self.spec.arm == "graph-permuted"
        live = {a: one for a, one in self.state.lessons.items() if blank or not one.retired}
        tallies = [(0, 0) if blank else (one.helpful, one.harmful) for one in live.values()]
        found = render_prompt(
            self.prompts,
            self._scene(),
            self.graph,
            operator,
            focus,
            lessons=dict(zip(live, tallies, strict=True)),
            reasons=self.spec.arm in SHOWN_GRAPH,
        )
        messages = list(found.messages)
        if self.spec.target.unit != "sparsity":
            # Templates are part of what identifies a search, so that their words stay.
            words, goal = f"{self._percent:g} % sparsity", self.spec.target.goal
            messages = [replace(m, content=m.content.replace(words, goal)) for m in messages]
        return replace(found, messages=tuple(messages))

    @property
    def _percent(self) -> float:
        return 100 * self.state.share_of(self.state.reference().alias)

    def _scene(self) -> Scene:
        return Scene(
            language=self.spec.written,
            statistics=self.choices.statistics,
            groups=self.choices.groups,
            allocations=self.choices.allocations,
            repairs=self.choices.all_repairs,
            reference=self.state.reference().alias,
            percent=self._percent,
            pattern=parse_pattern(self.spec.pattern),
            budget=self.spec.designer.prompt_tokens,
            allocation_forms=[self._form(name) for name in self.choices.allocations],
            repair_form=example(
                self.choices.repairs,
                self.choices.ranges,
                stream(self.spec.seed, 0, 0, "repair form"),
            ),
            words=self.choices.words,
            ranges=self.choices.ranges,
            tuned=self.spec.arm == "whole" and generations_left(self.state) > 1,
            left=left_in_words(self.state),
            generation=generation_in_words(self.state),
            composed=bool(self.choices.compositions),
            schemes=[(usual_text(name), genes_text(name)) for name in self.choices.schemes],
            text=(self.spec.calibration_windows, self.spec.seqlen),
            seconds=self.spec.program_seconds,
            ranked_by=RANKED_BY[self.spec.fitness],
        )

    def _form(self, name: str) -> str:
        """Return an example of an allocation family, drawn by the seed to suggest nothing.

        A fixed example would be copied.
        """
        rng = stream(self.spec.seed, 0, 0, f"{name} form")
        if name == FORMULA:
            return f"{FORMULA}:{drawn_terms(rng, self.choices.words, (0.1, 0.05))}"
        key = next(iter(self.choices.ranges.get(family(name), {})), None)
        plain = key is None or name != family(name)
        return name if plain else f"{name}:{key}={rng.choice(STRENGTHS):g}"

    def _constrained(self, request: ChatRequest, plan: Plan, blank: Blank | None) -> ChatRequest:
        """Add every form of the answer to the request; the transport sends what is enforced."""
        if not self.spec.designer.grammar or self.spec.written != "expression":
            return request
        now = ""
        if plan.part in ("group", "repair"):
            recipe = self.state.archive[plan.parents[0]].known_recipe
            now = recipe.group if plan.part == "group" else recipe.repair
        part = plan.part
        grammar = answer_grammar(
            self._formula, self.choices, self._aliases(), part=part, blank=blank, now=now
        )
        schema = answer_schema(self.choices, part=part, now=now)
        return replace(request, grammar=grammar, schema=schema)

    def _aliases(self) -> list[str]:
        """Entries that a grammar allows a forecast against: only the bar."""
        return [bar(self.graph, self.state.reference().alias)]

    def _measured(self) -> list[str]:
        """Entries that a forecast may be made against: the bar, then all that are shown."""
        return list(dict.fromkeys((*self._aliases(), *ranked(self.graph))))


def _fitting_hint(plan: Plan, base: Recipe | None) -> str:
    """Return the idea of a plan, unless it needs a group that the question does not ask for."""
    fixed = plan.part == "metric" and base is not None and base.group != "matrix"
    return "" if fixed and "group matrix" in plan.hint else plan.hint
