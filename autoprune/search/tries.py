"""Tries: designs whose error on real blocks a designer asks for before it commits to a recipe."""

import re
from collections.abc import Callable, Generator, Mapping
from dataclasses import replace

from autoprune.candidate import Candidate
from autoprune.design.chat import ChatRequest, Message, Reply, Usage
from autoprune.design.fields import FENCE, FIELD, without_thoughts
from autoprune.design.graph import Graph
from autoprune.design.hiding import DETAIL
from autoprune.design.parsing import (
    LONGEST_ANSWER,
    AnswerForm,
    Unreadable,
    one_line,
    read_answer,
)
from autoprune.design.sections import bar
from autoprune.errors import UsageError
from autoprune.metrics.language import ExpressionError, parse
from autoprune.recipe import Recipe
from autoprune.search.arms import CONTROLS
from autoprune.search.budget import answers_left
from autoprune.search.graph_notes import TASK
from autoprune.search.spec import SearchSpec
from autoprune.search.state import SearchState
from autoprune.search.steps import Batch, Outcome, Outcomes, Propose, Validate, Validation

MOST_TRIES = 3
OFFER = """

Before you commit you may once try up to {most} formulas: answer with lines 'try: FORMULA' alone.
Each is scored within each {group}, and its error on a few real layers comes back. The error takes
inputs as unrelated: it can warn of a formula, but shows none to be better than Wanda's. A try is no
candidate, and its seconds count. The reply comes when all questions that are open now have an
answer."""
PROGRAM_OFFER = """

Before you commit you may once try a program: write 'try' alone on the first line, then the answer
as usual. It prunes the first, the middle and the last block, and its error on text that it did not
see comes back; it is no candidate, and its seconds count. The reply comes when all questions that
are open now have an answer."""
PROGRAM_RETURN = (
    "{lines}\nLower is better; {known}; {trust} Now write the answer: this or a better one."
)
RETURN = "{lines}\nLower is better; {known}. {trust} Now write the lines that were asked for."
# See :func:`autoprune.bench.behaviour.behaviour`: the error is the sum of what is left out of each
# group, so leaving out the smallest of these products gives the least.
CHECKED = (
    "This error takes inputs as unrelated and layer budgets as equal, where no metric has a lower "
    "one than Wanda's in the same group, by construction"
)
_TRY = re.compile(r"^[\s>*_#`-]*try[\s*_`]*[:=][\s*_`]*(.*?)[\s`*]*$", re.IGNORECASE)
_TRY_PROGRAM = re.compile(r"\A[\s>*_#`-]*try[\s*_`]*:?[\s*_`]*\n", re.IGNORECASE)
# Longest part of an answer that the next question repeats, in characters.
REPEATED, REPEATED_PROGRAM = 600, 6000
_COMMITS = frozenset({"metric", "group", "allocation", "repair", "solver"})


def tried_formulas(text: str) -> list[str]:
    """Return the formulas that an answer tries; empty if it commits to a recipe."""
    text = without_thoughts(text[:LONGEST_ANSWER])
    lines = text.splitlines()
    fields = {match[1].lower() for line in lines if (match := FIELD.match(line[:4000]))}
    if fields & _COMMITS or FENCE.search(text):
        return []
    found = [match[1] for line in lines if (match := _TRY.match(line[:4000])) and match[1]]
    return list(dict.fromkeys(found))[:MOST_TRIES]


def tried_program(text: str) -> str:
    """Return the answer that is only tried; empty if it commits."""
    text = without_thoughts(text)
    found = _TRY_PROGRAM.match(text)
    return text[found.end() :] if found else ""


def may_try(state: SearchState) -> bool:
    """Whether the designer may try designs: no grammar binds its answers, and errors count."""
    return state.spec.designer.kind == "files" and state.spec.written not in ("python", "scheme")


def offered(state: SearchState, request: ChatRequest, base: Recipe | None) -> ChatRequest:
    """Add the offer to try a design to a request, if no grammar binds the answer.

    Nothing is offered that the budget could not pay for: an answer and one after its tries for
    every slot.
    """
    if not may_try(state) or answers_left(state, repair=True) < 2 * state.spec.slots:
        return request
    last = request.messages[-1]
    offer = OFFER.format(most=MOST_TRIES, group=_base(state, base).group)
    offer = PROGRAM_OFFER if state.spec.written == "program" else offer
    changed = Message(last.role, last.content.rstrip() + offer)
    return replace(request, messages=(*request.messages[:-1], changed))


def quoted(answer: str, spec: SearchSpec) -> str:
    """Return an earlier answer as the next question repeats it.

    Hidden names are blanked. A long answer is cut after a line, and the end says that it was:
    without that, a designer takes what it is shown for all of its program.
    """
    longest = REPEATED_PROGRAM if spec.written == "program" else REPEATED
    if len(answer) > longest:
        kept = answer[:longest].rpartition("\n")[0] or answer[:longest]
        answer = f"{kept}\n(cut here: {len(answer) - len(kept):,} more characters)"
    return spec.hidden.blanked(answer).encode("utf-8", "replace").decode()


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
                if recipe.metric.kind == "program" and outcome is not None:
                    text += f", {outcome.seconds:.0f} s by the clock for three calls"
            lines.append(text)
            body = {"text": f"tried {text}", "tried": recipe.metric.source}
            self.state.graph.add(trial, "observation", body)
            self.state.graph.link(trial, "derives_from", TASK)
        assert isinstance(reply, Reply)
        spec = self.state.spec
        shown = quoted(without_thoughts(reply.text), spec)
        back = PROGRAM_RETURN if spec.written == "program" else RETURN
        result = back.format(lines="\n".join(lines), known=self._known(), trust=self._trust())
        turns = (Message("assistant", shown), Message("user", spec.hidden.blanked(result)))
        messages = (*step.request.messages, *turns)
        request = replace(step.request, messages=messages)
        return replace(step, step_id=f"{step.step_id}.tried", request=request)

    def _known(self) -> str:
        """Errors of the reference and the best shown entry on the same layers.

        The error of a program is of another kind than that of masks, so it stands alone.
        """
        reference = self.state.reference()
        shown = self._shown()
        of_programs = self.state.spec.written == "program"
        errors: dict[str, float] = {}
        for alias in dict.fromkeys((reference.alias, bar(shown, reference.alias))):
            entry = self.state.archive[alias]
            if entry.recipe is None or entry.is_program != of_programs:
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
        of_programs = self.state.spec.written == "program"
        noun, checked = ("programs", "") if of_programs else ("masks", f"{CHECKED}; ")
        correlation, count = (None, 0) if hidden else self.state.layer_correlation()
        if correlation is None:
            return f"{checked}how well it ranks {noun} is not known yet."
        return (
            f"{checked}so far it ranked {count} {noun} as the whole model did with rank "
            f"correlation {correlation:.2f}, those of one allocation among each other."
        )

    def _tried(self, reply: Reply, form: AnswerForm) -> list[tuple[Recipe | None, str]]:
        """Return what an answer tries, in words, as a recipe or with the reason why not."""
        if self.state.spec.written != "program":
            return [self._recipe(formula, form.base) for formula in tried_formulas(reply.text)]
        text = tried_program(reply.text)
        if not text:
            return []
        found = read_answer(replace(reply, text=text), form)
        if isinstance(found, Unreadable):
            return [(None, f"{found.code}: {found.detail}")]
        return [(found.recipe, f"a program ({found.because or 'no reason'})")]

    def _recipe(self, formula: str, base: Recipe | None) -> tuple[Recipe | None, str]:
        """Return the recipe to try and its formula, or why there is none."""
        try:
            read = parse(formula, terminals=("W", *self.state.spec.readable))
        except ExpressionError as error:
            return None, f"{formula[:80]}: {error.line}"
        except UsageError as error:
            return None, f"{formula[:80]}: {error}"
        if self.state.spec.hidden.finds(formula):
            return None, f"{formula[:80]}: hidden: {DETAIL}"
        metric = Candidate("expression", read.text, dict(read.constants))
        return replace(_base(self.state, base), metric=metric), formula


def _with_first(first: Outcome, second: Outcome) -> Outcome:
    """Return the second answer with the tokens of both, for the entry; each is charged alone."""
    if not isinstance(first, Reply) or not isinstance(second, Reply):
        return second
    usage = Usage(
        first.usage.prompt_tokens + second.usage.prompt_tokens,
        first.usage.completion_tokens + second.usage.completion_tokens,
    )
    return replace(second, usage=usage)


def _base(state: SearchState, base: Recipe | None) -> Recipe:
    """The recipe that a tried formula is put into: the one being changed, else the reference's."""
    known = base or state.reference().recipe
    assert known is not None
    return known
