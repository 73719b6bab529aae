"""Plans to requests for the designer."""

from collections.abc import Sequence
from dataclasses import replace

from autoprune.design.chat import ChatRequest, Message
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
# Added to the temperature of a designer that repeats what is known.
WARMER = 0.3


class Requests:
    """Builds the requests of one search.

    Args:
        state: Read, never changed.
        prompts: Templates.
    """

    def __init__(self, state: State, prompts: Prompts) -> None:
        self.state = state
        self.spec = state.spec
        self.prompts = prompts
        self.hints = [h for h in prompts.render("hints").splitlines() if h.strip()]
        self._formula = gbnf(("W", *self.spec.statistics))

    def form(self) -> AnswerForm:
        """What an answer may hold now."""
        return AnswerForm(
            self.spec.language,
            self.spec.groups,
            self.spec.allocations,
            self._aliases(),
            ("W", *self.spec.statistics),
        )

    def proposal(self, generation: int, plan: Plan) -> ChatRequest:
        """The first request of a slot."""
        return ChatRequest(
            messages=self._render(plan.operator, plan.parents, plan.hint),
            max_tokens=self.spec.designer.max_tokens,
            temperature=self.spec.designer.temperature,
            seed=stream_seed(self.spec.seed, generation, plan.slot, "answer"),
            grammar=self._grammar(),
        )

    def repair(self, first: ChatRequest, answer: str, error: str, attempt: int) -> ChatRequest:
        """The request that shows a designer its own failed answer and one line on why."""
        complaint = self.prompts.render("operators/repair", error=error[:400])
        shown = answer[:600].encode("utf-8", "replace").decode()
        turns = (Message("assistant", shown or "(nothing)"), Message("user", complaint))
        return replace(first, messages=first.messages + turns, seed=first.seed + attempt)

    def again(self, generation: int, plan: Plan, first: ChatRequest, error: str) -> ChatRequest:
        """The first request with a warning and another idea.

        A small model that is shown its own answer repeats it, so the answer is left out.
        """
        rng = stream(self.spec.seed, generation, plan.slot, "again")
        hint = self.hints[rng.randrange(len(self.hints))] if self.hints else ""
        warning = self.prompts.render("operators/again", error=error[:400], hint=hint)
        *before, last = first.messages
        told = Message(last.role, f"{last.content}\n{warning}")
        warmer = min(2.0, first.temperature + WARMER)
        return replace(first, messages=(*before, told), seed=first.seed + 1, temperature=warmer)

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

    def _render(self, operator: str, focus: Sequence[str], hint: str) -> tuple[Message, ...]:
        return render_prompt(
            self.prompts,
            self._scene(),
            self.state.graph,
            operator,
            focus=focus,
            hint=hint,
            retired=self.state.retired_lessons,
        )

    def _scene(self) -> Scene:
        return Scene(
            language=self.spec.language,
            statistics=self.spec.statistics,
            groups=self.spec.groups,
            allocations=self.spec.allocations,
            reference=self.state.reference().alias,
            percent=100 * self.spec.sparsity,
            budget=self.spec.designer.prompt_tokens,
        )

    def _grammar(self) -> str | None:
        if not self.spec.designer.grammar or self.spec.language != "expression":
            return None
        return answer_grammar(
            self._formula,
            aliases=self._aliases(),
            groups=self.spec.groups,
            allocations=self.spec.allocations,
        )

    def _aliases(self) -> list[str]:
        """Entries a prediction may name: the reference and the best."""
        reference = self.state.reference().alias
        best = [e.alias for e in self.state.archive.measured()[:PREDICTABLE]]
        return [reference, *(alias for alias in best if alias != reference)]
