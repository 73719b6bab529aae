"""The nightly flow: search, evaluate the winner, ask the gate."""

from datetime import UTC, date, datetime, tzinfo
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from prefect import flow
from prefect.client.orchestration import get_client
from prefect.runtime import deployment, flow_run

from autoprune.report.sealed import FRESH
from flows.evaluate.flow import evaluate
from flows.evaluate.params import EvaluateParams
from flows.naming import run_name
from flows.nightly.best_so_far import with_best_so_far
from flows.nightly.params import NightlyParams
from flows.promote.flow import promote
from flows.promote.verdict import verdict_line
from flows.search.flow import search
from flows.search.leaderboard import outcome_lines
from flows.search.params import SearchParams
from flows.terminal import console
from flows.text_split import settled
from tasks import track
from tasks.results import show_night
from tasks.state import State, model_slug
from tasks.text_split import check_independent
from tasks.track.aliases import CHAMPION, aliases_of

# Day 0; numbers of nights stay clear of the low ones that people and `fresh` take.
EPOCH = date(2000, 1, 1)


def _model_and_sparsity(params: NightlyParams) -> str:
    return f"{model_slug(params.search.model)}-{params.search.budget.tag}"


NAME = run_name("nightly", NightlyParams, _model_and_sparsity)


@flow(name="nightly", flow_run_name=NAME, persist_result=False)
def nightly(params: NightlyParams = NightlyParams()) -> dict[str, Any]:  # noqa: B008 (frozen)
    """Search for a better way to prune, measure what was found, promote it if it is better."""
    started = _started()
    tonight = dated(params.search, started)
    if params.promote_winner and params.promote.text_split is None:
        check_independent(State.open(), tonight.corpus, tonight.model)
        if params.search.text_split == 0:
            # Another night of this date, such as one of another model, may have the number.
            wish, day = tonight.model_copy(update={"text_split": FRESH}), tonight.text_split
            tonight = settled(wish, wish.model, wish.corpus, first=int(day))
    # Once for the night: the evaluation after its search would take another fresh set.
    tonight = settled(tonight, tonight.model, tonight.corpus)
    if params.build_on:
        tonight = with_best_so_far(State.open(), tonight)
        for line in tonight.starts:
            console.screen().event(f"start of tonight: {line}")
    found = search(tonight)
    record: dict[str, Any] = {
        "night": {
            "date": started.date().isoformat(),
            "seed": tonight.seed,
            "text_split": tonight.text_split,
            "starts": list(tonight.starts),
        },
        "run": found["run"],
        "passed": found["passed"],
        "best": found["best"],
        "report": found["report"],
        "registered": found["registered"],
        "evaluation": None,
        "promotion": None,
    }
    if found["checkpoint"] is not None:
        record["evaluation"] = evaluate(
            EvaluateParams(
                model=found["checkpoint"],
                corpus=tonight.corpus,
                # A look at the whole text would be one at the sealed sets of all nights to come.
                part="sealed",
                text_split=tonight.text_split,
                measured_windows=params.measured_windows,
                seqlen=tonight.seqlen,
                seed=tonight.seed,
                device=tonight.device,
            )
        )
    verdict = "nothing was registered" if found["registered"] is None else "the gate was not asked"
    if params.promote_winner and found["registered"] is not None:
        record["promotion"], verdict = _promotion(params, tonight, found["registered"])
    lines = [*outcome_lines(found), verdict]
    console.screen().outcome(lines)
    show_night(State.open(), tonight.model, tonight.budget, record, lines)
    return record


def dated(search_params: SearchParams, started: datetime) -> SearchParams:
    """Return one night's search with its own run, seed and text; a rerun gets the same.

    The date is that of the scheduled start, so a retry the next morning resumes the night's own
    run. A seed and a split number left at 0 become the day's number, counted from
    :data:`EPOCH` in the time zone of ``started``.
    """
    day = (started.date() - EPOCH).days
    update: dict[str, Any] = {"seed": search_params.seed or day}
    if search_params.text_split == 0:
        update["text_split"] = day
    if search_params.run is not None:
        return search_params.model_copy(update=update)
    slug = model_slug(search_params.model)[:40]
    # In UTC, no two nights have the same name when the clocks go back.
    night = started.astimezone(UTC).strftime("%Y%m%d-%H%M")
    name = f"{slug}-{search_params.budget.tag}-{night}"
    return search_params.model_copy(update=update | {"run": name})


def _started() -> datetime:
    """Return the scheduled start in the zone of the schedule.

    In UTC, the nights before and after a change of the clocks can have the same date.
    """
    scheduled: datetime | None = flow_run.scheduled_start_time
    return (datetime.now(UTC) if scheduled is None else scheduled).astimezone(_zone())


def _zone() -> tzinfo:
    """Return the time zone of the deployment's schedule; UTC without one."""
    number = deployment.id
    if number is None:
        return UTC
    with get_client(sync_client=True) as client:
        schedules = client.read_deployment(UUID(number)).schedules
    active_first = sorted(schedules, key=lambda each: not each.active)
    zones = (getattr(each.schedule, "timezone", None) for each in active_first)
    return ZoneInfo(next(filter(None, zones), "UTC"))


def _promotion(
    params: NightlyParams, tonight: SearchParams, registered: dict[str, Any]
) -> tuple[dict[str, Any], str]:
    """Return the record of the promotion and its outcome in one line."""
    name, version = registered["name"], str(registered["version"])
    if aliases_of(track.Tracker(State.open()), name).get(CHAMPION) == version:
        first = {"name": name, "champion": version, "moved": False, "passed": True}
        return first, f"version {version} of {name} is champion: it is the first"
    given = params.promote.model_fields_set
    update: dict[str, Any] = {"name": name, "version": version}
    for field in ("corpus", "seqlen", "device"):
        if field not in given:
            update[field] = getattr(tonight, field)
    if params.promote.text_split is None:
        # The search measured on tonight's set, and earlier nights on theirs.
        update["text_split"] = FRESH
    done: dict[str, Any] = promote(params.promote.model_copy(update=update))
    return done, verdict_line(done)
