"""Plans to requests for the designer."""

from collections.abc import Sequence
from dataclasses import replace

from autoprune.design.chat import ChatRequest, Message
from autoprune.design.formulas import Blank, blanked
from autoprune.design.grammar import answer_grammar, lesson_grammar
from autoprune.design.parsing import AnswerForm
from autoprune.design.prompts import Prompts
from autoprune.design.render import Scene, render_prompt
from autoprune.metrics.language import gbnf
from autoprune.search.archive import Entry
from autoprune.search.planning import Plan
from autoprune.search.randomness import stream, stream_seed
from autoprune.search.state import State

PREDICTABLE = 6
LESSON_TOKENS = 48


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
        self.hints = [h for h in prompts.render("hints").splitlines() if h.strip()]
        self._formula = gbnf(("W", *self.spec.statistics))

    def form(self, plan: Plan) -> AnswerForm:
        """What an answer may hold now; parts that it leaves out are the parent's."""
        parent = self.state.archive[plan.parents[0]] if plan.parents else None
        return AnswerForm(
            self.spec.language,
            self.choices.groups,
            self.choices.allocations,
            self._aliases(),
            ("W", *self.spec.statistics),
            self.choices.solvers,
            base=parent.recipe if parent is not None else None,
            part=plan.part,
        )

    def proposal(self, generation: int, plan: Plan) -> ChatRequest:
        """The first request of a slot."""
        blank = self._blank(generation, plan)
        return ChatRequest(
            messages=self._render(
                plan.operator,
                plan.parents,
                plan.hint,
                part=plan.part,
                blank=blank.shown if blank else "",
            ),
            max_tokens=self.spec.designer.max_tokens,
            temperature=self.spec.designer.temperature,
            seed=stream_seed(self.spec.seed, generation, plan.slot, "answer"),
            grammar=self._grammar(plan, blank),
        )

    def _blank(self, generation: int, plan: Plan) -> Blank | None:
        """A place in the parent's formula, so that a small model cannot write the same again."""
        if plan.operator != "exploit" or plan.part != "metric" or not self.spec.designer.grammar:
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
        grammar = lesson_grammar() if self.spec.designer.grammar else None
        return ChatRequest(
            messages=self._render("reflect", (better.alias, worse.alias), ""),
            max_tokens=LESSON_TOKENS,
            temperature=self.spec.designer.temperature,
            seed=stream_seed(self.spec.seed, generation, 0, "lesson"),
            grammar=grammar,
        )

    def _render(
        self,
        operator: str,
        focus: Sequence[str],
        hint: str,
        *,
        part: str | None = None,
        blank: str = "",
    ) -> tuple[Message, ...]:
        return render_prompt(
            self.prompts,
            self._scene(),
            self.state.graph,
            operator,
            focus=focus,
            hint=hint,
            part=part,
            blank=blank,
            retired=self.state.retired_lessons,
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
        )

    def _grammar(self, plan: Plan, blank: Blank | None) -> str | None:
        if not self.spec.designer.grammar or self.spec.language != "expression":
            return None
        now = ""
        if plan.part in ("group", "solver"):
            recipe = self.state.archive[plan.parents[0]].recipe
            now = str(getattr(recipe, plan.part))
        return answer_grammar(
            self._formula, self.choices, self._aliases(), part=plan.part, blank=blank, now=now
        )

    def _aliases(self) -> list[str]:
        """Entries a prediction may name: the reference and the best."""
        reference = self.state.reference().alias
        best = [e.alias for e in self.state.archive.measured()[:PREDICTABLE]]
        return [reference, *(alias for alias in best if alias != reference)]
