"""Goes on with a search until a stage is done; the next command goes on from there."""

from collections import Counter
from typing import Any

from autoprune.search.steps import Measure, Propose, Seal, Validate, WorkStep
from flows.resume.params import Stage
from flows.search.driver import Driver
from flows.search.opening import opened_search, working
from flows.search.params import SearchParams
from flows.search.publishing import show
from flows.search.stopping import stopping_well
from flows.terminal import console
from tasks.report import write_report

# The steps of each stage, in the order of a search; calibration is done whenever one is opened.
STAGES: dict[Stage, type[WorkStep]] = {
    "design": Propose,
    "validate": Validate,
    "measure": Measure,
    "seal": Seal,
}


def run_until(settings: SearchParams, until: Stage) -> dict[str, Any]:
    """Do the open steps of a search until one stage is done.

    Returns:
        ``run``, ``until``, the number of ``steps`` put on record, ``open``: the number of steps
        that wait, by stage, and ``next``: the command that goes on.
    """
    with opened_search(settings) as (driver, session), stopping_well(driver):
        steps, found = 0, driver.search
        if found.finished is None:
            asks = until != "calibrate"
            with working(driver, session, settings, asks=asks):
                if asks:
                    steps = driver.run(STAGES[until])
            driver.write_record()
            write_report(driver.files, driver.record.report)
            # The search rests until it is resumed.
            driver.mirror("KILLED" if found.finished is None else "FINISHED")
            show(driver)
        record: dict[str, Any] = {
            "run": driver.run_id,
            "until": until,
            "steps": steps,
            "open": _waiting(driver),
            "next": f"autoprune resume {driver.run_id}",
        }
    console.screen().outcome([f"{steps} steps put on record", f"next  {record['next']}"])
    return record


def _waiting(driver: Driver) -> dict[str, int]:
    """Count the waiting steps by stage."""
    counts = Counter(type(step) for step in driver.search.waiting)
    return {name: counts[kind] for name, kind in STAGES.items() if counts[kind]}
