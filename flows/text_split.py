"""Chooses the split of the text: a given number, or the lowest that nobody has looked at."""

from pathlib import Path
from typing import TypeVar

from autoprune.digest import digest_json
from autoprune.report.sealed import FRESH, SealedSet
from autoprune.storage import write_json
from flows.params import Params, SearchParams
from flows.terminal import console
from tasks.run_files import RunFiles, read_object
from tasks.state import State
from tasks.text_split import fresh_split

Chosen = TypeVar("Chosen", bound=Params)


def settled(params: Chosen, model: str, *corpora: str) -> Chosen:
    """Replace ``fresh`` in the parameters by the number of the split.

    Args:
        params: Parameters of a flow that works on split text.
        model: Model reference; its chat template renders conversations.
        corpora: References of the texts to split.

    Raises:
        UsageError: If a text can be split in only one way and that split was looked at.
    """
    if getattr(params, "text_split", None) != FRESH:
        return params
    state = State.open()
    number = _started_with(state, params)
    chosen = _chosen(state, params)
    if number is None and chosen.is_file():
        # An interrupted command looked at this set itself; the same command goes on with it.
        number = read_object(chosen)["text_split"]
    if number is None:
        found = fresh_split(str(state.root), list(corpora), model)
        number = found["number"]
        for known in found["sets"]:
            console.screen().event(f"{FRESH}: {SealedSet(**known).facts}")
        chosen.parent.mkdir(parents=True, exist_ok=True)
        write_json(chosen, {"text_split": number})
    return params.model_copy(update={"text_split": number})


def forget_split(params: Params) -> None:
    """Let the same command take another fresh split next time, since it is complete.

    Args:
        params: As they were given to :func:`settled`.
    """
    if getattr(params, "text_split", None) == FRESH:
        _chosen(State.open(), params).unlink(missing_ok=True)


def _chosen(state: State, params: Params) -> Path:
    """File with the split that a command with these parameters chose and has not completed."""
    name = digest_json([type(params).__name__, params.to_json()])[:32]
    return state.root / "fresh" / f"{name}.json"


def _started_with(state: State, params: Params) -> int | None:
    """Return the split number that a named search was started with, which it keeps."""
    if not isinstance(params, SearchParams) or params.run is None:
        return None
    path = RunFiles.of(state, params.run).params
    number = read_object(path).get("text_split") if path.exists() else None
    return number if isinstance(number, int) else None
