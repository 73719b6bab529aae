"""Aliases of a registered model: champion, challenger, previous; they move all or none.

A move that is under way stands in a tag of the registered model. What ``kill -9`` leaves half done
is undone when the registered model is locked next, from any state folder.
"""

import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from uuid import uuid4

from filelock import FileLock
from filelock import Timeout as LockTimeout
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from autoprune.errors import AutopruneError
from autoprune.names import CHAMPION as CHAMPION
from tasks.state import folder_tag
from tasks.track.runs import LONGEST_TAG, Tracker

log = logging.getLogger(__name__)

CHALLENGER = "challenger"
PREVIOUS = "previous"
_ALIASES = (PREVIOUS, CHAMPION, CHALLENGER)
# Tag of the registered model: the champion that a search or a promotion made.
MADE_CHAMPION = "autoprune.champion"
# Tag of the registered model while a move is under way, and of a version once its move is complete.
MOVE = "autoprune.move"
LOCK_SECONDS = 60.0
POLL_SECONDS = 0.5
_AT_ONCE = (
    "another promotion of {name} began at the same time; nothing was moved; type the same "
    "command again"
)


@dataclass(frozen=True)
class Move:
    """Aliases that change together.

    Args:
        before: Version numbers by alias as they were.
        after: As they shall be.
        tags: Names of the tags that say why, on the new champion.
        made: Version that this program had made champion; None: none.
        by: The state folder whose process moves them.
        number: What no other move has.
    """

    before: Mapping[str, str]
    after: Mapping[str, str]
    tags: Sequence[str]
    made: str | None
    by: str
    number: str


def aliases_of(tracker: Tracker, name: str) -> dict[str, str]:
    """Version numbers by alias."""
    model = tracker.client.get_registered_model(name)
    return {alias: str(number) for alias, number in dict(model.aliases).items()}


def moved_by_hand(tracker: Tracker, name: str) -> tuple[str, str] | None:
    """The champion that a promotion made, and the one put in its place by other means.

    None if both are the same, or nothing is on record.
    """
    made, now = _tag(tracker, name, MADE_CHAMPION), aliases_of(tracker, name).get(CHAMPION)
    return None if made is None or now is None or now == made else (made, now)


def version_of(tracker: Tracker, name: str, number: str) -> ModelVersion | None:
    """A version of a registered model; None if it was deleted or never was."""
    try:
        return tracker.client.get_model_version(name, number)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None


def note_champion(tracker: Tracker, name: str, number: str) -> None:
    """Record which version this program made champion."""
    tracker.client.set_registered_model_tag(name, MADE_CHAMPION, number)


def write_tags(tracker: Tracker, name: str, number: str, tags: Mapping[str, str]) -> None:
    """Set tags of a version."""
    for key, value in tags.items():
        tracker.client.set_model_version_tag(name, number, key, value[:LONGEST_TAG])


@contextmanager
def registry_lock(tracker: Tracker, name: str) -> Iterator[None]:
    """Keep other promotions of this model out, and undo one that was killed."""
    folder = tracker.state.root / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(str(folder / f"promote-{name}.lock"))
    try:
        with lock.acquire(timeout=LOCK_SECONDS):
            _undo_killed(tracker, name)
            yield
    except LockTimeout as error:
        raise AutopruneError(
            f"another promotion of {name} holds {lock.lock_file} for more than "
            f"{LOCK_SECONDS:.0f} s; wait for it, then type the same command again"
        ) from error


def require_champion(tracker: Tracker, name: str, expected: str | None) -> dict[str, str]:
    """The aliases, with the champion that was measured against."""
    found = aliases_of(tracker, name)
    now = found.get(CHAMPION)
    if now != expected:
        raise AutopruneError(
            f"the champion of {name} changed while it was measured (was "
            f"{_version(expected)}, is {_version(now)}); nothing was moved; "
            "type the same command again to measure against the new one"
        )
    return found


def move_champion(
    tracker: Tracker,
    name: str,
    number: str,
    expected: str | None,
    tags: Mapping[str, str],
    *,
    by_hand: bool = False,
) -> None:
    """Make ``number`` the champion and the former champion ``previous``, or change nothing.

    The file lock holds within one state folder. MLflow offers nothing that would rule out every
    race between two folders, so a move of another one is looked for before, amid and after.
    """
    before = require_champion(tracker, name, expected)
    after = {alias: at for alias, at in before.items() if at != number}
    if expected is not None and not by_hand:
        after[PREVIOUS] = expected
    after[CHAMPION] = number
    made, folder = _tag(tracker, name, MADE_CHAMPION), folder_tag(tracker.state)
    move = Move(before, after, list(tags), made, folder, uuid4().hex)
    with _recorded(tracker, name, move):
        _set_aliases(tracker, name, before, after)
        note_champion(tracker, name, number)
        found = aliases_of(tracker, name).get(CHAMPION)
        if found != number:
            raise AutopruneError(
                f"{tracker.state.tracking_place} says that the champion of {name} is "
                f"{_version(found)} right after it was set to version {number}; the other "
                "aliases were put back; see who else writes there, then try again"
            )
        if _unfinished(tracker, name) != move:
            raise AutopruneError(_AT_ONCE.format(name=name))
        write_tags(tracker, name, number, {**tags, MOVE: move.number})


@contextmanager
def _recorded(tracker: Tracker, name: str, move: Move) -> Iterator[None]:
    """Record a move while the body makes it; undo it if the body fails."""
    if _tag(tracker, name, MOVE) is not None:
        raise AutopruneError(_AT_ONCE.format(name=name))
    tracker.client.set_registered_model_tag(name, MOVE, json.dumps(asdict(move)))
    # Another folder may have seen no move either, or have ended its own just now.
    if _unfinished(tracker, name) != move or aliases_of(tracker, name) != move.before:
        _forget(tracker, name, move)
        raise AutopruneError(_AT_ONCE.format(name=name))
    try:
        yield
    except BaseException:
        _undo(tracker, name, move)
        raise
    try:
        _forget(tracker, name, move)
    except MlflowException as error:
        # It is complete, which shows when the registered model is locked next.
        log.warning("the tag %s of %s could not be removed: %s", MOVE, name, error)


def _undo_killed(tracker: Tracker, name: str) -> None:
    """Undo a move whose process was killed; a living one is given time to end."""
    waited = 0.0
    while (move := _unfinished(tracker, name)) is not None:
        champion = move.after[CHAMPION]
        if _version_tags(tracker, name, champion).get(MOVE) == move.number:
            _forget(tracker, name, move)
            return
        # The file lock is ours, so nobody else in this state folder is moving anything.
        if move.by == folder_tag(tracker.state) or waited >= LOCK_SECONDS:
            log.warning("a promotion of %s was killed before it ended", name)
            _undo(tracker, name, move)
            for key in _version_tags(tracker, name, champion).keys() & set(move.tags):
                tracker.client.delete_model_version_tag(name, champion, key)
            return
        time.sleep(POLL_SECONDS)
        waited += POLL_SECONDS


def _unfinished(tracker: Tracker, name: str) -> Move | None:
    text = _tag(tracker, name, MOVE)
    if text is None:
        return None
    try:
        return Move(**json.loads(text))
    except (TypeError, ValueError):
        log.warning("%s has a tag %s that cannot be read, and loses it: %s", name, MOVE, text)
        tracker.client.delete_registered_model_tag(name, MOVE)
        return None


def _undo(tracker: Tracker, name: str, move: Move) -> None:
    now = aliases_of(tracker, name)
    # What somebody set by hand since then stays, and a version that was deleted leads nothing.
    ours = {alias for alias in _ALIASES if now.get(alias) == move.after.get(alias)}
    wanted = {alias: at for alias, at in now.items() if alias not in ours}
    for alias, number in move.before.items():
        if alias in ours and version_of(tracker, name, number) is not None:
            wanted[alias] = number
    _set_aliases(tracker, name, now, wanted)
    made = _tag(tracker, name, MADE_CHAMPION)
    if made != move.made and made == move.after.get(CHAMPION):
        if move.made is None:
            tracker.client.delete_registered_model_tag(name, MADE_CHAMPION)
        else:
            note_champion(tracker, name, move.made)
    _forget(tracker, name, move)
    if wanted != now:
        log.warning("the aliases of %s were put back: %s", name, wanted)


def _forget(tracker: Tracker, name: str, move: Move) -> None:
    """Remove the record of a move, and of no other."""
    if _unfinished(tracker, name) == move:
        tracker.client.delete_registered_model_tag(name, MOVE)


def _set_aliases(
    tracker: Tracker, name: str, now: Mapping[str, str], wanted: Mapping[str, str]
) -> None:
    for alias in _ALIASES:
        number = wanted.get(alias)
        if number == now.get(alias):
            continue
        if number is None:
            tracker.client.delete_registered_model_alias(name, alias)
        else:
            tracker.client.set_registered_model_alias(name, alias, number)


def _tag(tracker: Tracker, name: str, key: str) -> str | None:
    tags: dict[str, str] = dict(tracker.client.get_registered_model(name).tags or {})
    return tags.get(key)


def _version_tags(tracker: Tracker, name: str, number: str) -> dict[str, str]:
    """Tags of a version; empty if it was deleted."""
    found = version_of(tracker, name, number)
    return {} if found is None else dict(found.tags or {})


def _version(number: str | None) -> str:
    return "none" if number is None else f"version {number}"
