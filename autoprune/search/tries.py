"""Tries: designs whose error on real blocks a designer asks for before it commits to a recipe."""

import re
from collections.abc import Callable, Generator, Mapping
from dataclasses import replace

from autoprune.design.chat import ChatRequest, Message, Reply, Usage
from autoprune.design.fields import without_thoughts
from autoprune.design.graph import Graph
from autoprune.design.parsing import (
    AnswerForm,
    Unreadable,
    one_line,
    read_answer,
)
from autoprune.design.sections import bar
from autoprune.recipe import Recipe
from autoprune.search.arms import CONTROLS
from autoprune.search.budget import answers_left
from autoprune.search.graph_notes import TASK
from autoprune.search.spec import SearchSpec
from autoprune.search.state import SearchState
from autoprune.search.steps import Batch, Outcome, Outcomes, Propose, Validate, Validation

OFFER = """

Before you commit you may once try a program: write 'try' alone on the first line, then the answer
as usual. It prunes the first, the middle and the last block, and its error on text that it did not
see comes back; it is no candidate, and its seconds count. The reply comes when all questions that
are open now have an answer."""
RETURN = "{lines}\nLower is better; {known}; {trust} Now write the answer: this or a better one."
_TRY_PROGRAM = re.compile(r"\A[\s>*_#`-]*try[\s*_`]*:?[\s*_`]*\n", re.IGNORECASE)
# Longest part of an answer that the next question repeats, in characters.
REPEATED, REPEATED_PROGRAM = 600, 6000


def tried_program(text: str) -> str:
    """Return the answer that is only tried; empty if it commits."""
    text = without_thoughts(text)
    found = _TRY_PROGRAM.match(text)
    return text[found.end() :] if found else ""


def may_try(state: SearchState) -> bool:
    """Whether the designer may try designs: it answers in files, and writes programs."""
    return state.spec.designer.kind == "files" and state.spec.written == "program"


def offered(state: SearchState, request: ChatRequest) -> ChatRequest:
    """Add the offer to try a design to a request, if no grammar binds the answer.

    Nothing is offered that the budget could not pay for: an answer and one after its tries for
    every slot.
    """
    if not may_try(state) or answers_left(state, repair=True) < 2 * state.spec.slots:
        return request
    last = request.messages[-1]
    changed = Message(last.role, last.content.rstrip() + OFFER)
    return replace(request, messages=(*request.messages[:-1], changed))


def quoted(answer: str, spec: SearchSpec) -> str:
    """Return an earlier answer as the next question repeats it.

    A long answer is cut after a line, and the end says that it was:
    without that, a designer takes what it is shown for all of its program.
    """
    longest = REPEATED_PROGRAM if spec.written == "program" else REPEATED
    if len(answer) > longest:
        kept = answer[:longest].rpartition("\n")[0] or answer[:longest]
        answer = f"{kept}\n(cut here: {len(answer) - len(kept):,} more characters)"
    return answer.encode("utf-8", "replace").decode()


class Tries:
    """Measures the designs that a designer tries, and asks it again.

    Args:
        state: Gets an observation for each try; the seconds are charged.
        shown: The graph as shown to the designer; replies reveal no more.
    """

    def __init__(self, state: SearchState, shown: Callable[[], Graph]) -> None:
        self.state = state
        self._shown = shown

    def follow(
        self,
        asked: Mapping[str, Propose],
        outcomes: Outcomes,
        forms: Mapping[str, AnswerForm],
        most: float,
    ) -> Generator[Batch, Outcomes, dict[str, tuple[ChatRequest, Outcome]]]:
        """Measure the designs that answers try, and ask their questions once more."""
        wanted: dict[str, list[tuple[str, str, Recipe | None]]] = {}
        steps: list[Validate] = []
        for name, step in asked.items() if may_try(self.state) else ():
            reply = outcomes[name]
            tried = []
            if isinstance(reply, Reply) and len(wanted) < most:
                tried = self._tried(reply, forms[name])
            for number, (recipe, words) in enumerate(tried):
                trial = f"{name}.t{number}"
                wanted.setdefault(name, []).append((trial, one_line(words), recipe))
                if recipe is not None:
                    steps.append(Validate(trial, step.generation, step.slot, trial, recipe))
        if not wanted:
            return {}
        found: Outcomes = (yield steps) if steps else {}
        self.state.charge(found.values())
        again = {
            name: self._again(asked[name], outcomes[name], tries, found)
            for name, tries in wanted.items()
        }
        answers = yield list(again.values())
        models = {step.step_id: step.request.model for step in again.values()}
        self.state.charge(answers.values(), map(models.get, answers))
        return {
            name: (step.request, _with_first(outcomes[name], answers[step.step_id]))
            for name, step in again.items()
        }

    def _again(
        self,
        step: Propose,
        reply: Outcome,
        tries: list[tuple[str, str, Recipe | None]],
        found: Outcomes,
    ) -> Propose:
        lines = []
        for trial, words, recipe in tries:
            outcome = found.get(trial)
            error = outcome.reconstruction_error if isinstance(outcome, Validation) else None
            if recipe is None:
                lines.append(words)
                continue
            if error is None:
                code = getattr(outcome, "code", "") or "no figure"
                text = f"{words}: {code} {one_line(getattr(outcome, 'detail', ''))}".rstrip()
            else:
                text = f"{words} by {recipe.group}: error {error:.4g} on real layers"
                if outcome is not None:
                    text += f", {outcome.seconds:.0f} s by the clock for three calls"
            lines.append(text)
            body = {"text": f"tried {text}", "tried": recipe.metric.source}
            self.state.graph.add(trial, "observation", body)
            self.state.graph.link(trial, "derives_from", TASK)
        assert isinstance(reply, Reply)
        spec = self.state.spec
        shown = quoted(without_thoughts(reply.text), spec)
        result = RETURN.format(lines="\n".join(lines), known=self._known(), trust=self._trust())
        turns = (Message("assistant", shown), Message("user", result))
        messages = (*step.request.messages, *turns)
        request = replace(step.request, messages=messages)
        return replace(step, step_id=f"{step.step_id}.tried", request=request)

    def _known(self) -> str:
        """Errors of the reference and the best shown entry on the same layers.

        The error of a program is of another kind than that of masks, so it stands alone.
        """
        reference = self.state.reference()
        shown = self._shown()
        errors: dict[str, float] = {}
        for alias in dict.fromkeys((reference.alias, bar(shown, reference.alias))):
            entry = self.state.archive[alias]
            if entry.recipe is None or not entry.is_program:
                continue
            # The result that the designer is shown, which may be another recipe's.
            result = shown.newest_result(alias)
            error = None if result is None else result.body.get("reconstruction_error")
            if error is None and alias == reference.alias and entry.validation is not None:
                error = entry.validation.reconstruction_error
            if error is not None:
                errors[alias] = error
        return ", ".join(f"{alias} has {error:.4g}" for alias, error in errors.items()) or "alone"

    def _trust(self) -> str:
        """What the error is worth, as far as this search knows and the designer may know."""
        # This uses real results of all recipes; an arm that hides or shuffles them must not hint.
        hidden = self.state.spec.arm in CONTROLS
        correlation, count = (None, 0) if hidden else self.state.layer_correlation()
        if correlation is None:
            return "how well it ranks programs is not known yet."
        return (
            f"so far it ranked {count} programs as the whole model did with rank "
            f"correlation {correlation:.2f}, those of one allocation among each other."
        )

    def _tried(self, reply: Reply, form: AnswerForm) -> list[tuple[Recipe | None, str]]:
        """Return what an answer tries, in words, as a recipe or with the reason why not."""
        text = tried_program(reply.text)
        if not text:
            return []
        found = read_answer(replace(reply, text=text), form)
        if isinstance(found, Unreadable):
            return [(None, f"{found.code}: {found.detail}")]
        return [(found.recipe, f"a program ({found.because or 'no reason'})")]


def _with_first(first: Outcome, second: Outcome) -> Outcome:
    """Return the second answer with the tokens of both, for the entry; each is charged alone."""
    if not isinstance(first, Reply) or not isinstance(second, Reply):
        return second
    usage = Usage(
        first.usage.prompt_tokens + second.usage.prompt_tokens,
        first.usage.completion_tokens + second.usage.completion_tokens,
    )
    return replace(second, usage=usage)
