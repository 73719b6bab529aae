"""Tasks of a promotion: find both versions, measure both the same way, judge, move the alias."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoprune.comparison.contenders import (
    JudgedPart,
    JudgedText,
    checkpoint_figures,
    judged_text,
    require_rivals,
)
from autoprune.comparison.gate import GateVerdict, judge
from autoprune.errors import AutopruneError, UsageError, reason_of
from autoprune.models.record import read_record, verify_files
from tasks import track
from tasks.recorded import task_run
from tasks.sealed_looks import Looks
from tasks.state import State
from tasks.workbench import Workbench

if TYPE_CHECKING:
    from tasks.track.registry import Place

log = logging.getLogger(__name__)

TRY_TEXT = "Pruning a neural network means"
TRY_TOKENS = 8
DECISION = "autoprune.decision"
REASON = "autoprune.reason"


@dataclass(frozen=True)
class Contenders:
    """The versions of a registered model between which a promotion decides.

    Args:
        name: The registered model.
        note: On a champion that was moved by hand; often empty.
        champion: The version that leads; None if there is none.
        challenger: The version that may replace it.
    """

    name: str
    note: str
    champion: "Place | None"
    challenger: "Place"

    @property
    def by_role(self) -> "dict[str, Place]":
        """The champion, if there is one, then the challenger."""
        champion = {} if self.champion is None else {track.aliases.CHAMPION: self.champion}
        return champion | {track.aliases.CHALLENGER: self.challenger}


@task_run("find contenders", "find champion and challenger")
def find_contenders(
    state: State, name: str | None, version: str | None, dry_run: bool = False
) -> Contenders:
    """Look up the champion and the challenger."""
    tracker = track.Tracker(state)
    chosen = track.registry.choose_model(tracker, name)
    with track.aliases.registry_lock(tracker, chosen):
        note = _by_hand(tracker, chosen, dry_run)
    also = f"; {note}" if note else ""
    aliases = track.aliases.aliases_of(tracker, chosen)
    number = version or aliases.get(track.aliases.CHALLENGER)
    champion = aliases.get(track.aliases.CHAMPION)
    if number is None:
        raise UsageError(
            f"{chosen} has no alias {track.aliases.CHALLENGER!r} (champion: "
            f"{champion or 'none'}); a search that finds a new winner sets it; or name a version "
            f"with --version{also}"
        )
    if number == champion:
        raise UsageError(
            f"version {number} of {chosen} is the champion already; name another with "
            f"--version{also}"
        )
    numbers = {track.aliases.CHALLENGER: number, track.aliases.CHAMPION: champion}
    found = {role: at for role, at in numbers.items() if at is not None}
    records = {
        at: track.registry.version_record(tracker, chosen, at, role) for role, at in found.items()
    }
    require_rivals(chosen, records)
    places = {
        role: track.registry.find_version(tracker, chosen, at, role) for role, at in found.items()
    }
    leads, follows = (places.get(track.aliases.CHAMPION), places[track.aliases.CHALLENGER])
    return Contenders(chosen, note, leads, follows)


def _by_hand(tracker: Any, name: str, dry_run: bool) -> str:
    """Note on a champion that no promotion made; ``previous`` becomes the one before it."""
    moved = track.aliases.moved_by_hand(tracker, name)
    if moved is None:
        return ""
    made, now = moved
    note = (
        f"the alias {track.aliases.CHAMPION!r} was moved by hand from version {made} to version "
        f"{now}, past the gate"
    )
    if track.aliases.version_of(tracker, name, made) is None:
        return f"{note}; version {made} has been deleted"
    # A rollback returns to the version that last passed the gate.
    if not dry_run:
        tracker.client.set_registered_model_alias(name, track.aliases.PREVIOUS, made)
    return f"{note}; `autoprune promote --name {name} --rollback` goes back"


@task_run("find split", "split that made {folder}")
def find_split(folder: Path) -> int | None:
    """The number of the split that the search behind a version used for its text.

    None if no search made the version, or its record is gone.
    """
    made = read_record(folder)
    number = made.get("text_split", made.get("seed"))
    return number if "run" in made and isinstance(number, int) else None


@task_run(
    "cut part", "cut {wanted.count} x {wanted.seqlen} tokens of {wanted.corpus} ({wanted.part})"
)
def cut_part(bench: Workbench, name: str, wanted: JudgedPart, asked: str, role: str) -> JudgedText:
    """Cut a contender's windows and note the look; see :func:`judged_text`."""
    looks = Looks(bench.state, f"{asked}: {role}", "promote", asked)
    text = judged_text(bench, name, wanted, looks.note)
    counted, known = looks.counts.get(text.digest), looks.sets.get(text.digest)
    return replace(text, looks=counted, sealed_set=known)


@task_run("inspect checkpoint", "count weights of {folder}")
def inspect_checkpoint(folder: Path) -> dict[str, Any]:
    """Count what the written files hold; see :func:`checkpoint_figures`."""
    return checkpoint_figures(folder, read_record(folder))


@task_run("reload", "open {name} version {version} as a user would")
def try_reload(state: State, name: str, version: str, folder: Path) -> dict[str, Any]:
    """Check the files' digests, open the version with MLflow and let it continue a text."""
    try:
        verify_files(folder)
        nll, continuation = track.registry.continue_text(
            track.Tracker(state), name, version, TRY_TEXT, TRY_TOKENS
        )
    except Exception as error:
        # Whatever a damaged checkpoint raises is a finding, not an error of the promotion.
        log.info("reload failed", exc_info=True)
        return {"ok": False, "detail": reason_of(error, named=True)}
    finite = nll < float("inf")
    detail = (
        f"continues a text with {continuation[:40]!r}" if finite else "its loss is not a number"
    )
    return {"ok": finite, "detail": detail}


@task_run("judge", "gate of {name}")
def judge_contenders(
    name: str,
    champion: dict[str, Any] | None,
    challenger: dict[str, Any],
    accept_tie: bool,
    larger_by: float,
) -> GateVerdict:
    """The gate table; see :func:`autoprune.comparison.gate.judge`."""
    return judge(champion, challenger, accept_tie=accept_tie, larger_by=larger_by)


@task_run("settle", "settle {name} version {version}")
def settle(
    state: State,
    name: str,
    version: str,
    champion: str | None,
    verdict: GateVerdict,
    text: dict[str, Any],
) -> bool:
    """Write the reason on the version and, if the gate passed, move the champion."""
    tracker = track.Tracker(state)
    tags = {f"gate.{check.name}": "pass" if check.ok else "fail" for check in verdict.checks}
    tags |= {
        REASON: verdict.reason,
        "autoprune.decided_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "autoprune.compared_with": champion or "none",
    }
    tags |= {f"gate.text.{key}": str(value) for key, value in text.items() if value is not None}
    tags[DECISION] = "promoted" if verdict.passed else "refused"
    with track.aliases.registry_lock(tracker, name):
        # Another promotion may have settled this version, whose tags say why it leads.
        track.aliases.require_champion(tracker, name, champion)
        if not verdict.passed:
            track.aliases.write_tags(tracker, name, version, tags)
            return False
        try:
            track.aliases.move_champion(tracker, name, version, champion, tags)
        except Exception as error:
            reason = f"rolled back: {reason_of(error)}"
            _try_tags(state, name, version, {DECISION: "rolled back", REASON: reason})
            raise
    return True


@task_run("roll back", "roll back the champion")
def roll_back(
    state: State, name: str | None, dry_run: bool, shown: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Make ``previous`` champion again; the champion becomes ``previous``.

    A champion that was set by hand gives way to the one that the gate made, and keeps no alias.
    """
    tracker = track.Tracker(state)
    chosen = track.registry.choose_model(tracker, name, track.aliases.PREVIOUS)
    with track.aliases.registry_lock(tracker, chosen):
        aliases = track.aliases.aliases_of(tracker, chosen)
        back, now = aliases.get(track.aliases.PREVIOUS), aliases.get(track.aliases.CHAMPION)
        moved = track.aliases.moved_by_hand(tracker, chosen)
        if moved is not None and track.aliases.version_of(tracker, chosen, moved[0]) is not None:
            back = moved[0]
        if back is None or back == now:
            raise UsageError(
                f"{chosen} has no previous champion to go back to (champion: {now or 'none'}); "
                "name a version with --version and promote it instead"
            )
        if shown is not None and (back, now) != (shown["champion"], shown["previous"]):
            raise AutopruneError(
                f"the aliases of {chosen} changed since version {shown['champion']} was to replace "
                f"version {shown['previous']}: now version {back} would replace version {now}; "
                "nothing was moved; type the same command again"
            )
        track.registry.version_record(tracker, chosen, back, track.aliases.PREVIOUS)
        if not dry_run:
            stamp = datetime.now(UTC).isoformat(timespec="seconds")
            reason = f"rolled back from version {now} at {stamp}"
            tags = {REASON: reason, DECISION: "restored"}
            by_hand = moved is not None
            track.aliases.move_champion(tracker, chosen, back, now, tags, by_hand=by_hand)
    return {"name": chosen, "champion": back, "previous": now, "moved": not dry_run}


def _try_tags(state: State, name: str, version: str, tags: dict[str, str]) -> None:
    try:
        track.aliases.write_tags(track.Tracker(state), name, version, tags)
    except Exception:
        # The store is failing, which is why this is called; the first failure is raised.
        log.warning("the reason could not be written on %s version %s", name, version)
