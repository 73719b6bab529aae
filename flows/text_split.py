"""Chooses the split of the text: a given number, or the lowest that nobody has looked at."""

from pathlib import Path
from typing import Protocol, TypeVar, runtime_checkable

from autoprune.digest import digest_json
from autoprune.report.sealed import FRESH
from autoprune.storage import read_object, write_json
from flows.params import Params
from flows.terminal import console
from tasks.kept_splits import kept_splits, locked_splits, splits_folder
from tasks.run_files import RunFiles
from tasks.state import State
from tasks.text_split import fresh_split

Chosen = TypeVar("Chosen", bound=Params)


@runtime_checkable
class _Search(Protocol):
    """Parameters of a search; no others have a ``run_id``."""

    @property
    def run(self) -> str | None: ...
    def run_id(self) -> str: ...


def settled(params: Chosen, model: str, *corpora: str, first: int = 0, of: str = "") -> Chosen:
    """Replace ``fresh`` in the parameters by the number of the split.

    The number is kept for this command until :func:`forget_split`; other commands of the state
    folder take other sets, since a search looks at its set only at its end.
    """
    if getattr(params, "text_split", None) != FRESH:
        return params
    state = State.open()
    number = _started_with(state, params)
    if number is not None:
        return params.model_copy(update={"text_split": number})
    chosen = _chosen(state, params, of)
    with locked_splits(state):
        if chosen.is_file():
            # An interrupted command looked at this set itself; the same command goes on with it.
            return params.model_copy(update={"text_split": read_object(chosen)["text_split"]})
        # Files of earlier versions list no sets.
        held = {one for known in kept_splits(state).values() for one in known.get("sets", ())}
        found = fresh_split(state, list(corpora), model, first, held)
        done = params.model_copy(update={"text_split": found.number})
        for known in found.sets:
            console.screen().event(f"{FRESH}: {known.facts}")
        chosen.parent.mkdir(parents=True, exist_ok=True)
        body = {
            "text_split": found.number,
            "sets": [known.digest for known in found.sets],
            "run": done.run_id() if isinstance(done, _Search) else None,
        }
        write_json(chosen, body)
    return done


def forget_split(params: Params, run: str | None = None, of: str = "") -> None:
    """Let the same command take another fresh split next time, since it is complete."""
    state = State.open()
    with locked_splits(state):
        for file, known in kept_splits(state).items():
            if file == _chosen(state, params, of) or (run is not None and known.get("run") == run):
                file.unlink()


def _chosen(state: State, params: Params, of: str = "") -> Path:
    """File with the split that a command with these parameters chose and has not completed."""
    name = digest_json([type(params).__name__, params.recorded(), *([of] if of else [])])[:32]
    return splits_folder(state) / f"{name}.json"


def _started_with(state: State, params: Params) -> int | None:
    """Return the split number that a named search was started with, which it keeps."""
    if not isinstance(params, _Search) or params.run is None:
        return None
    path = RunFiles.of(state, params.run).params
    number = read_object(path).get("text_split") if path.exists() else None
    return number if isinstance(number, int) else None
