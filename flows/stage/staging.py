"""One stage of an existing search: its open steps are done, its recorded results recomputed.

The event log is the source of truth. An open stage runs the code of a resumed search and records
its outcomes; a finished one is recomputed and compared, and changes nothing.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from autoprune.errors import AutopruneError, UsageError
from autoprune.models.record import RECORD_FILE
from autoprune.plain_text import in_code, in_markdown
from autoprune.search.archive import Entry
from autoprune.search.repeated import (
    Compared,
    compare_measurements,
    compare_sealed,
    compare_validations,
    known_entry,
    measurement_again,
    sealed_again,
    validation_again,
)
from autoprune.search.steps import Measure, Propose, Seal, Validate, WorkStep
from flows.search.driver import Driver
from flows.search.opening import note_calibration, opened_search, working
from flows.search.params import SearchParams
from flows.search.publishing import keep, register, show
from flows.search.runs import find_run, going_on
from flows.search.stopping import stopping_well
from flows.stage.params import StageName, StageParams
from flows.terminal import console
from tasks import steps
from tasks.calibrate import calibrate, calibrate_again
from tasks.design import DesignerSession
from tasks.mirror import in_store
from tasks.prepare import note_look, prepare
from tasks.publish import Publisher
from tasks.report import write_report
from tasks.state import State
from tasks.workbench import opened

# Stages by the kind of step that they do, in the order of a search.
STAGES: dict[type[WorkStep], StageName] = {
    Propose: "design",
    Validate: "validate",
    Measure: "measure",
    Seal: "seal",
}


@dataclass(frozen=True)
class StageResult:
    """The result of a stage.

    Args:
        what: What it did, in words.
        steps: Number of open steps that are on record now.
        compared: Recomputed figures, with those on record.
    """

    what: str
    steps: int = 0
    compared: list[Compared] = field(default_factory=list)


@dataclass(frozen=True)
class StageWork:
    """A stage of an open search.

    Args:
        driver: The search's driver.
        session: Its designer.
        settings: What the search was started with.
        asked: Which stage, and what it applies to.
    """

    driver: Driver
    session: DesignerSession
    settings: SearchParams
    asked: StageParams

    def is_open(self, kind: type[WorkStep]) -> bool:
        """Whether a step of this kind waits for its outcome."""
        return any(isinstance(step, kind) for step in self.driver.search.waiting)

    def go_on(self, kind: type[WorkStep]) -> StageResult:
        """Do all open steps of a kind, as a resumed search does."""
        driver = self.driver
        with (
            stopping_well(driver),
            working(driver, self.session, self.settings, asks=kind is Propose),
        ):
            count = driver.run(kind)
        return StageResult(f"{count} open steps done and put on record", count)

    def not_open(self) -> UsageError:
        """Build the refusal of a stage without open steps; it names the stages that have some."""
        run, name = self.driver.run_id, self.asked.stage
        waiting = _waiting(self.driver)
        found = ", ".join(f"{count} of {stage}" for stage, count in waiting.items())
        return UsageError(
            f"nothing of the stage {name} is open in the search {run!r}; open steps: {found}; run "
            f"`autoprune stage {run} {next(iter(waiting))}` first, or `autoprune resume {run}` "
            "for all that is left"
        )


def run_stage(params: StageParams) -> dict[str, Any]:
    """Do one stage of a search."""
    state = State.open()
    settings = going_on(state, find_run(state, params.run), params.device)
    with opened_search(settings) as (driver, session):
        done = WORK[params.stage](StageWork(driver, session, settings, params))
        if done.steps and driver.search.finished is None:
            # The search rests until its next stage.
            driver.mirror("KILLED")
        record = {
            "run": driver.run_id,
            "stage": params.stage,
            "what": done.what,
            "steps": done.steps,
            "compared": [asdict(row) for row in done.compared],
            "agrees": all(row.agrees for row in done.compared) if done.compared else None,
            "open": _waiting(driver),
            "next": _next(driver),
        }
    page = Publisher(settings.model, settings.budget, f"{params.stage}-stage")
    page.report(stage_markdown(record))
    found = f": {verdict(record)}" if record["compared"] else ""
    console.screen().outcome([f"{record['what']}{found}"])
    return record


def _calibrate(stage: StageWork) -> StageResult:
    driver, bench = stage.driver, stage.driver.bench
    with opened(bench):
        prepare(bench)
        stored, now, written = calibrate_again(bench)
        first = driver.facts.known.get("calibration", {}).get("digest", stored)
        compared = [
            Compared("statistics in the store", stored[:12], now[:12], stored == now),
            Compared("statistics at first", first[:12], now[:12], first == now),
        ]
        if stored == now:
            note_calibration(driver, calibrate(bench))
    return StageResult(
        f"statistics collected again{', and stored' if written else ''}", 0, compared
    )


def _design(stage: StageWork) -> StageResult:
    driver = stage.driver
    if driver.search.finished is not None:
        raise UsageError(
            f"the search {driver.run_id!r} is finished, and what its sealed text showed must not "
            "lead to further candidates of it; start another one by `autoprune search`, whose "
            "--starts takes the recipe of this winner"
        )
    if not stage.is_open(Propose):
        raise stage.not_open()
    return stage.go_on(Propose)


def _validate(stage: StageWork) -> StageResult:
    if stage.asked.candidate is None and stage.is_open(Validate):
        return stage.go_on(Validate)
    search, entry = stage.driver.search, _entry(stage)
    step, recorded = validation_again(search, entry)
    with working(stage.driver, stage.session, stage.settings, asks=False):
        outcome = steps.do(stage.driver.bench, step)
    return StageResult(f"{entry.alias} validated again", 0, compare_validations(recorded, outcome))


def _measure(stage: StageWork) -> StageResult:
    if stage.asked.candidate is None and stage.is_open(Measure):
        return stage.go_on(Measure)
    search, entry = stage.driver.search, _entry(stage)
    step, recorded = measurement_again(search, entry)
    with working(stage.driver, stage.session, stage.settings, asks=False):
        outcome = steps.do(stage.driver.bench, step)
    assert step.recipe is not None
    compared = compare_measurements(recorded, outcome, step.recipe, precision=search.spec.precision)
    return StageResult(f"{entry.alias} measured again", 0, compared)


def _entry(stage: StageWork) -> Entry:
    """Return the requested candidate, else the winner of a finished search."""
    search, name = stage.driver.search, stage.asked.candidate
    if name is not None:
        return known_entry(search, name)
    if search.finished is None:
        raise stage.not_open()
    if search.best is None:
        raise UsageError(
            f"no recipe of the search {stage.driver.run_id!r} beats its reference, so there is no "
            "winner; name one of its candidates with --candidate"
        )
    return search.best


def _seal(stage: StageWork) -> StageResult:
    driver, search = stage.driver, stage.driver.search
    if search.finished is None:
        if not stage.is_open(Seal):
            raise stage.not_open()
        done = stage.go_on(Seal)
        # The record and its page; the checkpoint belongs to the stage `register`.
        write_report(driver.files, driver.record.report)
        driver.mirror("FINISHED")
        show(driver)
        return done
    step, recorded = sealed_again(search)
    if not stage.asked.look_again:
        looks = driver.facts.known.get("sealed_looks", search.looks)
        raise UsageError(
            f"the search {driver.run_id!r} has its sealed figures, by look {looks} at that text, "
            "and each further look spends it; read them by `autoprune ls candidates --run "
            f"{driver.run_id}`; to measure them again all the same, add --look-again, which the "
            "ledger counts"
        )
    with working(driver, stage.session, stage.settings, asks=False):
        looked = note_look(driver.bench, again=datetime.now(UTC).isoformat())
        outcome = steps.do(driver.bench, step)
    what = f"sealed figures measured again, by look {looked['sealed_looks']} at that text"
    return StageResult(what, 0, compare_sealed(step, recorded, outcome))


def _register(stage: StageWork) -> StageResult:
    driver, search, files = stage.driver, stage.driver.search, stage.driver.files
    if search.finished is None:
        raise stage.not_open()
    if search.best is None:
        raise UsageError(
            f"no recipe of the search {driver.run_id!r} beats its reference, so there is nothing "
            "to register"
        )
    _, before = in_store(driver.state, driver.facts.known)
    if "checkpoint" not in driver.facts.known or not (files.winner / RECORD_FILE).is_file():
        with working(driver, stage.session, stage.settings, asks=False):
            keep(driver, stage.settings.dtype)
    if not driver.mirror("FINISHED"):
        raise AutopruneError(
            f"MLflow at {driver.state.tracking_place} is not accepting the record of the search, "
            "so its winner was not registered; see that it runs, then do this stage again"
        )
    driver.facts.add(mirrored=driver.parent, mlflow_place=driver.place)
    done, error = register(driver)
    if done is None:
        raise AutopruneError(f"the winner was not registered ({error}); do this stage again")
    show(driver)
    compared = []
    if before is not None:
        pair = [f"{before['name']} {before['version']}", f"{done.name} {done.version}"]
        compared = [Compared("version", pair[0], pair[1], pair[0] == pair[1])]
    return StageResult(f"{search.best.alias} is {done.name} version {done.version}", 0, compared)


WORK: dict[StageName, Callable[[StageWork], StageResult]] = {
    "calibrate": _calibrate,
    "design": _design,
    "validate": _validate,
    "measure": _measure,
    "seal": _seal,
    "register": _register,
}


def _waiting(driver: Driver) -> dict[str, int]:
    """Count the waiting steps by stage, the stage that comes next first."""
    counts = Counter(STAGES[type(step)] for step in driver.search.waiting)
    return {name: counts[name] for name in STAGES.values() if counts[name]}


def _next(driver: Driver) -> str:
    waiting = _waiting(driver)
    if waiting:
        return f"autoprune stage {driver.run_id} {next(iter(waiting))}"
    _, registered = in_store(driver.state, driver.facts.known)
    if driver.search.best is not None and registered is None:
        return f"autoprune stage {driver.run_id} register"
    return f"autoprune ls candidates --run {driver.run_id}"


def verdict(record: dict[str, Any]) -> str:
    """Say whether the recomputed figures agree with the record; empty without a comparison."""
    if record["agrees"] is None:
        return ""
    if record["agrees"]:
        return "agrees with the record"
    others = [row["figure"] for row in record["compared"] if not row["agrees"]]
    return f"DIFFERS from the record: {', '.join(others)}; the record stays as it is"


def stage_markdown(record: dict[str, Any]) -> str:
    """Describe what a stage did, for Prefect's page."""
    parts = [f"# {in_markdown(record['stage'])} of {in_markdown(record['run'])}"]
    parts.append(f"{in_markdown(record['what'])}.")
    if record["compared"]:
        rows = "\n".join(
            f"| {in_markdown(row['figure'])} | {in_markdown(row['recorded'])} "
            f"| {in_markdown(row['now'])} | {'agrees' if row['agrees'] else '**differs**'} |"
            for row in record["compared"]
        )
        parts.append(f"**{in_markdown(verdict(record))}**")
        parts.append(f"| figure | on record | now | |\n|---|---|---|---|\n{rows}")
    if record["open"]:
        found = ", ".join(f"{count} of {stage}" for stage, count in record["open"].items())
        parts.append(f"Open steps: {found}.")
    return "\n\n".join([*parts, f"Next: {in_code(record['next'])}"])
