"""A designer's reason as a short solution in steps, for a verifier to score before any measurement.

Scores come from a model outside the log, so each is the outcome of a step and is recorded; what
follows from them is computed again when a search is resumed.
"""

from collections.abc import Sequence

from autoprune.design.formulas import formula_text
from autoprune.evaluation.best_of import reply_steps
from autoprune.search.archive import Entry
from autoprune.search.moves import recipe_text
from autoprune.search.spec import SearchSpec
from autoprune.search.state import SearchState
from autoprune.search.steps import StepGenerator, Verified, Verify
from autoprune.verify import chain_score


def verify_reasons(state: SearchState, entries: Sequence[Entry]) -> StepGenerator:
    """Have the reasons of entries scored, all at once; does nothing if no verifier is named.

    Entries without a reason, such as moves of the search itself, are left out, and a failed step
    leaves its entry without a score.

    Args:
        state: State of the search.
        entries: Valid entries that were not judged yet.
    """
    if state.spec.judge_verifier is None:
        return
    asked = {entry.alias: _question(state, entry) for entry in entries if entry.because}
    if not asked:
        return
    outcomes = yield list(asked.values())
    state.charge(outcomes.values())
    for alias, step in asked.items():
        entry, outcome = state.archive[alias], outcomes[step.step_id]
        entry.seconds += outcome.seconds
        if isinstance(outcome, Verified):
            entry.trust = chain_score(outcome.scores)


def _question(state: SearchState, entry: Entry) -> Verify:
    best = state.archive.best() or state.reference()
    question = f"{question_of(state.spec)} The best recipe so far is {_recipe(best)}."
    steps = [*reply_steps(entry.because), f"The recipe: {_recipe(entry)}."]
    prediction = entry.prediction
    if prediction is not None and prediction.stated:
        rival = prediction.versus
        if rival in state.archive:
            rival = _recipe(state.archive[rival])
        change = prediction.forecast or prediction.direction
        steps.append(f"Perplexity against {rival}: {change}.")
    where = (entry.generation, entry.slot, entry.alias)
    return Verify(f"{entry.alias}.verify", *where, question, tuple(steps))


def question_of(spec: SearchSpec) -> str:
    """The question of a search, as put to a verifier."""
    if spec.target.unit != "sparsity":
        return f"How is a language model brought to {spec.target.goal} with the least loss?"
    share = f"{100 * spec.sparsity:g} %"
    if spec.schemes:
        return f"How is a language model made {share} smaller with the least loss?"
    return f"How is a language model pruned to {share} zeros with the least loss?"


def _recipe(entry: Entry) -> str:
    return recipe_text(entry.known_recipe, formula_text(entry.known_recipe.metric))
