"""What identifies a search: its specification, its prompts and its planned steps.

The next step follows from the recorded outcomes, the seed and the program. Another version of the
program, or of Optuna, may plan other steps under the same names; an outcome is only ever used for
the exact step that it answered.
"""

from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import uuid4

from pydantic import ValidationError

from autoprune import __version__
from autoprune.design.prompts import Prompts
from autoprune.errors import UsageError
from autoprune.search.events import Event, EventLog, as_stored
from autoprune.search.spec import SearchSpec
from autoprune.search.steps import WorkStep, step_to_json

ID_DIGITS = 8
# Longer values are not quoted where two searches differ.
SHOWN_CHARACTERS = 60
START_ANEW = "start over in another folder (--run NAME on the command line)"


def planners() -> dict[str, str]:
    """Versions of the software that plans the steps of a search, by name."""
    return {"AutoPrune": __version__, "Optuna": version("optuna")}


def recorded_spec(
    log: EventLog, events: Sequence[Event], spec: SearchSpec | None, prompts: Prompts
) -> SearchSpec:
    """Return the specification on record after comparing it; write it if the log is new."""
    opened = next((event for event in events if event.kind == "opened"), None)
    if opened is None:
        if spec is None:
            raise UsageError(f"{log.path} holds no search; start one with a specification")
        body = {"spec": spec.to_json(), "prompts": prompts.digest, "planners": planners()}
        body["id"] = uuid4().hex[:ID_DIGITS]
        return SearchSpec.recorded(log.append("opened", "search", body).body["spec"])
    folder = log.path.parent
    try:
        recorded = SearchSpec.recorded(opened.body["spec"])
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(
            f"the search in {folder} was made by {_version_text(opened.body)}, whose settings "
            f"{_version_text({'planners': planners()})} does not know "
            f"({'.'.join(map(str, first['loc']))}: {first['msg']}); continue with the version "
            f"that made it, or {START_ANEW}"
        ) from error
    # Settings missing from an older log have their defaults in both.
    wanted, known = (spec or recorded).to_json(), recorded.to_json()
    names = wanted.keys() | known.keys()
    changed = sorted(key for key in names if wanted.get(key) != known.get(key))
    if changed:
        raise UsageError(
            f"the search in {folder} was started with other settings "
            f"({', '.join(_difference(name, known, wanted) for name in changed)}); "
            f"use the same ones, or {START_ANEW}"
        )
    if opened.body["prompts"] != prompts.digest:
        raise UsageError(
            f"the search in {folder} was started with other prompts; "
            f"use the same templates, or {START_ANEW}"
        )
    return recorded


def require_same(step: WorkStep, recorded: dict[str, Any], made_by: str, folder: Path) -> None:
    """Check that a recorded outcome answers this very step."""
    planned = as_stored(step_to_json(step))
    if planned != recorded:
        names = planned.keys() | recorded.keys()
        changed = sorted(n for n in names if planned.get(n) != recorded.get(n))
        raise planned_otherwise(made_by, folder, f"{step.step_id} ({', '.join(changed)})")


def planned_otherwise(made_by: str, folder: Path, what: str) -> UsageError:
    """Build the error for steps that another version planned."""
    here = _version_text({"planners": planners()})
    if here == made_by:
        here = "changed code of the same version"
    return UsageError(
        f"the search in {folder} was made by {made_by}; here {here} plans step {what} otherwise, "
        "so recorded figures would be attributed to other recipes; continue with the version "
        f"that made it, or {START_ANEW}"
    )


def log_id(events: Iterable[Event]) -> str:
    """Return what tells a search from a later one of its name; empty in logs up to 0.2.0."""
    return next((str(e.body.get("id", "")) for e in events if e.kind == "opened"), "")


def made_by(events: Sequence[Event]) -> str:
    """Describe the versions that a log was started with."""
    return next((_version_text(e.body) for e in events if e.kind == "opened"), "nobody")


def _difference(name: str, known: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """A setting with both values where they are short; of an object, the ones that differ."""
    values = before, now = known.get(name), wanted.get(name)
    if isinstance(before, dict) and isinstance(now, dict):
        names = sorted(n for n in before.keys() | now.keys() if before.get(n) != now.get(n))
        return ", ".join(f"{name}.{_difference(n, before, now)}" for n in names)
    if any(isinstance(value, list) or len(str(value)) > SHOWN_CHARACTERS for value in values):
        return name
    return f"{name}: {before} on record, now {now}"


def _version_text(body: dict[str, Any]) -> str:
    known = body.get("planners")
    if not known:
        return "an earlier version of AutoPrune"
    return " with ".join(f"{name} {number}" for name, number in known.items())
