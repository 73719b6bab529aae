"""Which split of the text a run works on: a number, or the lowest that nobody has looked at."""

from typing import TypeVar

from autoprune.report.sealed import FRESH, SealedSet
from flows.params import Params, SearchParams
from flows.terminal import console
from tasks.run_files import RunFiles, read_object
from tasks.state import State
from tasks.text_split import fresh_split

Chosen = TypeVar("Chosen", bound=Params)


def settled(params: Chosen, model: str, *corpora: str) -> Chosen:
    """The same parameters with the number of the split where ``fresh`` was asked for.

    Args:
        params: Of a flow that works on split text.
        model: Reference of the model, whose chat template renders conversations.
        corpora: References of the texts that it splits.

    Raises:
        UsageError: If a text has but one way to be split and that was looked at.
    """
    if getattr(params, "text_split", None) != FRESH:
        return params
    state = State.open()
    number = _started_with(state, params)
    if number is None:
        found = fresh_split(str(state.root), list(corpora), model)
        number = found["number"]
        for known in found["sets"]:
            console.screen().event(f"{FRESH}: {SealedSet(**known).facts}")
    return params.model_copy(update={"text_split": number})


def _started_with(state: State, params: Params) -> int | None:
    """The number that a named search was started with; it goes on with that."""
    if not isinstance(params, SearchParams) or params.run is None:
        return None
    path = RunFiles.of(state, params.run).params
    number = read_object(path).get("text_split") if path.exists() else None
    return number if isinstance(number, int) else None
