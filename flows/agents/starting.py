"""Starts a search for an agent: its name, its split of the text, its job."""

import time
from collections.abc import Mapping
from typing import Any

from autoprune.report.sealed import FRESH
from flows.agents.jobs import LOOK_SECONDS, Jobs
from flows.agents.project import Project
from flows.search.params import SearchParams
from flows.terminal.options import settled

SIZES = (
    *("calibration_windows", "selection_windows", "rung_windows", "sealed_windows"),
    *("seqlen", "draws"),
)
# Seconds for a new search to choose a fresh split; after that the reply omits the number.
START_SECONDS = 30.0


def begin_search(project: Project, jobs: Jobs, values: Mapping[str, Any]) -> dict[str, Any]:
    """Start a search as a job, and return the reply."""
    taken = settled(SearchParams, values)
    name = taken.run_id()
    if taken.run is None and taken.text_split == FRESH:
        # Without a name, the search takes one from the number that it settles.
        name = _free_run(project, name)
        values = {**values, "run": name}
    # The search creates its folder; a wrong name is refused here.
    project.state.run(name)
    project.require_own_split(name, taken)
    job = start_job(jobs, name, ["search", *options(values)])
    split = taken.text_split
    return {
        "run": name,
        "job": job,
        "status": "working",
        "text_split": split if isinstance(split, int) else _settled_split(project, jobs, name, job),
        "sizes": {size: getattr(taken, size) for size in SIZES},
        "budget": {
            limit: getattr(taken, limit) for limit in ("candidates", "evaluations", "minutes")
        },
        "slots": taken.slots,
        "next": "call next_questions with this run",
    }


def start_job(jobs: Jobs, run: str, words: list[str]) -> str:
    """Start the job that works on a run; it must print a result, which is read back."""
    name = f"search-{run}"
    jobs.start(name, [*words, "--json"])
    return name


def options(values: Mapping[str, Any]) -> list[str]:
    """Format options of the command line; each is one word, so no value is read as an option."""
    return [f"--{name.replace('_', '-')}={value}" for name, value in values.items()]


def _settled_split(project: Project, jobs: Jobs, run: str, job: str) -> int | str:
    """Return the number that a search takes for fresh, which it looks up on starting."""
    until = time.monotonic() + START_SECONDS
    while jobs.is_alive(job) and time.monotonic() < until:
        known = project.text_split(run)
        if known is not None:
            return known
        time.sleep(LOOK_SECONDS)
    return "fresh: not settled yet, see text_split in the next reply"


def _free_run(project: Project, name: str) -> str:
    known = project.state.run_ids()
    names = (name, *(f"{name}-{number}" for number in range(2, len(known) + 2)))
    return next(free for free in names if free not in known)
