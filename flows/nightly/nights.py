"""The nightly search: which model, when, and what the Prefect server has scheduled.

Nothing is scheduled until `autoprune up --schedule` says what; the state folder remembers it.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml

from autoprune.errors import UsageError
from autoprune.storage import read_object, write_json
from flows.nightly.params import NightlyParams
from flows.params import DEMO_MODEL, checked
from flows.platform.pools import deployment_name
from flows.platform.processes import folder
from flows.search.params import SearchParams
from flows.terminal.settings_file import YAML_SUFFIXES, read_search
from tasks.state import State

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

OFF = "off"
NIGHTLY = "nightly"
USUAL_TIME = "02:00"
# Limits of a night if the settings give none.
USUAL = {"candidates": 24, "minutes": 240.0}
TURN_ON = "`autoprune up --schedule MODEL` (or FILE.yaml) searches every night"
TURN_OFF = "`autoprune up --schedule off` ends it"


@dataclass(frozen=True)
class Night:
    """The search that runs every night.

    Args:
        search: Settings of the search.
        at: Time of the day, ``HH:MM``.
        zone: Time zone, ``Europe/Berlin``.
    """

    search: Mapping[str, Any]
    at: str
    zone: str

    def __post_init__(self) -> None:
        # A form's schema knows today's names alone, and a night may be remembered for long.
        object.__setattr__(self, "search", SearchParams.with_todays_names(self.search))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON form."""
        return {"search": dict(self.search), "at": self.at, "zone": self.zone}


def chosen_night(state: State, schedule: str | None, at: str | None) -> Night | None:
    """Return the requested night, else the remembered one; None: none is scheduled."""
    if schedule is None:
        known = _remembered(state)
        if known is None and at is not None:
            raise UsageError(f"--at {at}: nothing is scheduled; say what with --schedule MODEL")
        return known if known is None or at is None else Night(known.search, at, local_zone())
    if schedule == OFF:
        if at is not None:
            raise UsageError(f"--at {at} goes with a model; leave it out with --schedule {OFF}")
        return None
    file = Path(schedule).expanduser()
    given = read_search(file) if file.suffix in YAML_SUFFIXES else {"model": schedule}
    if given.get("run") is not None:
        raise UsageError(
            f"run {given['run']!r}: each night is a run of its own, named by its date; leave it out"
        )
    params: NightlyParams = checked(NightlyParams, {"search": USUAL | given})
    params.check()
    # Imports Prefect and torch, which `autoprune down` does not need.
    from tasks.text_split import check_independent

    check_independent(state, params.search.corpus, params.search.model)
    return Night(USUAL | given, at or USUAL_TIME, local_zone())


def remember_night(state: State, night: Night | None) -> None:
    """Let later commands in this folder schedule the same."""
    if night is None:
        _file(state).unlink(missing_ok=True)
    else:
        _file(state).parent.mkdir(parents=True, exist_ok=True)
        write_json(_file(state), night.to_json())


def with_night(text: str, night: Night | None) -> str:
    """Return ``prefect.yaml`` with this night's search scheduled, or unchanged without one."""
    if night is None:
        return text
    config = yaml.safe_load(text)
    config.pop("definitions", None)
    hour, minute = night.at.split(":")
    for deployment in config["deployments"]:
        for schedule in deployment.get("schedules", ()):
            schedule |= {
                "cron": f"{int(minute)} {int(hour)} * * *",
                "timezone": night.zone,
                "active": True,
            }
            deployment["parameters"]["params"]["search"] = dict(night.search)
    return str(yaml.safe_dump(config, sort_keys=False))


def scheduled(client: "SyncPrefectClient", pool: str) -> str:
    """Describe what the server will do every night, whichever command scheduled it."""
    deployment = client.read_deployment_by_name(f"{NIGHTLY}/{deployment_name(NIGHTLY, pool)}")
    active: list[Any] = [one.schedule for one in deployment.schedules if one.active]
    if deployment.paused or not active:
        return f"nothing is scheduled; {TURN_ON}"
    params = deployment.parameters.get("params", {})
    try:
        search: SearchParams = checked(SearchParams, params.get("search", {}))
    except UsageError as error:
        # Edited in the UI, whose form checks fields one by one.
        return f"the search that is scheduled cannot run: {error}; {TURN_ON}; {TURN_OFF}"
    times = ", ".join(f"{getattr(one, 'cron', one)} ({one.timezone})" for one in active)
    limit = "no time limit" if search.minutes is None else f"up to {search.minutes:g} minutes"
    after = "promotes what passes the gate" if params.get("promote_winner", True) else ""
    model = f"{search.model}{' (the demo)' if search.model == DEMO_MODEL else ''}"
    share = search.budget.unit == "sparsity"
    aim = f"at {search.share:.0%} zeros" if share else f"for {search.budget.goal}"
    parts = (f"searches {model} {aim}", f"cron {times}", limit, after)
    return f"{', '.join(part for part in parts if part)}; {TURN_OFF}"


def local_zone() -> str:
    """Return this machine's time zone from ``TZ`` or ``/etc/localtime``; else UTC."""
    named = os.environ.get("TZ", "").removeprefix(":")
    place = str(Path("/etc/localtime").resolve()).partition("/zoneinfo/")[2]
    for found in filter(None, (named, place)):
        try:
            return ZoneInfo(found).key
        except (ValueError, OSError, ZoneInfoNotFoundError):
            # A rule such as CET-1CEST, or a path: not a name that Prefect takes.
            continue
    return "UTC"


def _remembered(state: State) -> Night | None:
    if not _file(state).exists():
        return None
    body = read_object(_file(state))
    return Night(body["search"], body["at"], body["zone"])


def _file(state: State) -> Path:
    return folder(state) / "night.json"
