"""Plans to requests for the designer."""

from dataclasses import dataclass, replace

from autoprune.design.chat import ChatRequest, Message
from autoprune.design.formulas import Blank, blanked
from autoprune.design.grammar import answer_grammar, lesson_grammar
from autoprune.design.parsing import AnswerForm
from autoprune.design.prompts import Prompts
from autoprune.design.render import Focus, Rendered, Scene, drawn_formula, render_prompt
from autoprune.design.repairs import example
from autoprune.design.schema import answer_schema, lesson_schema
from autoprune.metrics.language import gbnf
from autoprune.search.archive import Entry
from autoprune.search.planning import Plan
from autoprune.search.randomness import stream, stream_seed
from autoprune.search.state import State
from autoprune.search.tries import offered

PREDICTABLE = 6


@dataclass(frozen=True)
class Question:
    """A request with what it was made from.

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

    def __init__(self, state: State, prompts: Prompts) -> None:
        self.state = state
        self.spec = state.spec
        self.choices = state.spec.choices
        self.prompts = prompts
        hints = prompts.render("hints").splitlines() if self.spec.designer.hints else []
        self.hints = [hint for hint in hints if hint.strip()]
        self._formula = gbnf(("W", *self.spec.statistics))

    def form(self, plan: Plan) -> AnswerForm:
        """What an answer may hold now; parts that it leaves out are the parent's."""
        parent = self.state.archive[plan.parents[0]] if plan.parents else None
        return AnswerForm(
            self.spec.language,
            self.choices.groups,
            self.choices.allocations,
            self._aliases(plan),
            ("W", *self.spec.statistics),
            self.choices.solvers,
            self.choices.ranges,
            base=parent.recipe if parent is not None else None,
            part=plan.part,
        )

    def proposal(self, generation: int, plan: Plan) -> Question:
        """The first question of a slot."""
        blank = self._blank(generation, plan)
        shown = blank.shown if blank else ""
        prompt = self._render(plan.operator, Focus(plan.parents, plan.hint, plan.part, shown))
        request = ChatRequest(
            messages=prompt.messages,
            max_tokens=self.spec.designer.max_tokens,
            temperature=self.spec.designer.temperature,
            seed=stream_seed(self.spec.seed, generation, plan.slot, "answer"),
            model=plan.model,
        )
        request = offered(self.state, request, self.form(plan).base)
        return Question(self._constrained(request, plan, blank), prompt.lessons)

    def _blank(self, generation: int, plan: Plan) -> Blank | None:
        """A place in the parent's formula, so that a small model cannot write the same again.

        Who answers in files writes the whole formula: nothing there enforces a grammar.
        """
        designer = self.spec.designer
        enforced = designer.grammar and designer.kind != "files"
        if plan.operator != "exploit" or plan.part != "metric" or not enforced:
            return None
        recipe = self.state.archive[plan.parents[0]].recipe
        rng = stream(self.spec.seed, generation, plan.slot, "blank")
        return blanked(recipe.metric, rng) if recipe is not None else None

    def repair(self, first: ChatRequest, answer: str, error: str, attempt: int) -> ChatRequest:
        """The request that shows a designer its own failed answer and one line on why."""
        complaint = self.prompts.render("operators/repair", error=error[:400])
        shown = answer[:600].encode("utf-8", "replace").decode()
        turns = (Message("assistant", shown or "(nothing)"), Message("user", complaint))
        return replace(first, messages=first.messages + turns, seed=first.seed + attempt)

    def lesson(self, generation: int, better: Entry, worse: Entry) -> ChatRequest:
        """The request for one lesson out of a pair."""
        constrained = self.spec.designer.grammar
        return ChatRequest(
            messages=self._render("reflect", Focus((better.alias, worse.alias))).messages,
            max_tokens=self.spec.designer.max_tokens,
            temperature=self.spec.designer.temperature,
            seed=stream_seed(self.spec.seed, generation, 0, "lesson"),
            grammar=lesson_grammar() if constrained else None,
            schema=lesson_schema() if constrained else None,
        )

    def _render(self, operator: str, focus: Focus) -> Rendered:
        live = {a: lesson for a, lesson in self.state.lessons.items() if not lesson.retired}
        return render_prompt(
            self.prompts,
            self._scene(),
            self.state.graph,
            operator,
            focus,
            lessons={alias: (lesson.helpful, lesson.harmful) for alias, lesson in live.items()},
            reasons=self.spec.designer.context == "graph",
        )

    def _scene(self) -> Scene:
        return Scene(
            language=self.spec.language,
            statistics=self.spec.statistics,
            groups=self.choices.groups,
            allocations=self.choices.allocations,
            solvers=self.choices.solvers,
            reference=self.state.reference().alias,
            percent=100 * self.spec.sparsity,
            budget=self.spec.designer.prompt_tokens,
            formula_form=drawn_formula(stream(self.spec.seed, 0, 0, "formula form")),
            repair_form=example(self.choices.solvers, self.choices.ranges),
        )

    def _constrained(self, request: ChatRequest, plan: Plan, blank: Blank | None) -> ChatRequest:
        """The request with every form of its answer; the transport sends what is enforced."""
        if not self.spec.designer.grammar or self.spec.language != "expression":
            return request
        now = ""
        if plan.part in ("group", "solver"):
            recipe = self.state.archive[plan.parents[0]].recipe
            now = str(getattr(recipe, plan.part))
        aliases, part = self._aliases(plan), plan.part
        grammar = answer_grammar(
            self._formula, self.choices, aliases, part=part, blank=blank, now=now
        )
        schema = answer_schema(self.choices, aliases, part=part, now=now)
        return replace(request, grammar=grammar, schema=schema)

    def _aliases(self, plan: Plan) -> list[str]:
        """Entries a prediction may name: the recipe that is changed, the reference, the best."""
        best = [e.alias for e in self.state.archive.measured()[:PREDICTABLE]]
        named = [*plan.parents[:1], self.state.reference().alias, *best]
        return list(dict.fromkeys(named))
