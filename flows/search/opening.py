"""Opens a search and makes it ready for its steps: files, model, text, designer, workers."""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from autoprune.bench.text import SELECTION
from autoprune.models.device import default_device
from autoprune.numerics import environment
from autoprune.report.sealed import SealedSet
from autoprune.search.estimate import Estimate, estimate
from autoprune.search.search import Search
from flows.contention import keep_threads, slowed
from flows.runners import workers
from flows.search.beginning import keep_facts
from flows.search.docker import require_docker
from flows.search.driver import Driver
from flows.search.foreseeing import about_windows, foreseen
from flows.search.params import SearchParams
from flows.search.runs import require_same_device, save_params, settled_precision, template_folder
from flows.search.stopping import nothing_left
from flows.search.unchanged import (
    require_same_designer,
    require_same_files,
    require_same_sources,
    require_same_windows,
)
from flows.terminal import console
from flows.text_split import settled
from tasks.calibrate import calibrate, calibration_markdown
from tasks.design import DesignerSession
from tasks.prepare import measure_dense, prepare
from tasks.provenance import code_commit
from tasks.remote import bench_config
from tasks.run_files import RunFiles
from tasks.search_bench import SearchBench
from tasks.state import State
from tasks.switches import computing_on, prices, tracing_wanted
from tasks.winner import is_kept
from tasks.workbench import opened


@contextmanager
def opened_search(params: SearchParams) -> Iterator[tuple[Driver, DesignerSession]]:
    """Open a new search or resume one, with its bench and a designer that is not yet started.

    Until the context ends, models compute on the search's device.
    """
    # Report wrong values now, not in every record after minutes of work.
    tracing_wanted()
    prices()
    state = State.open()
    params = settled(params, params.model, params.corpus)
    run_id = params.run_id()
    params = settled_precision(state, run_id, params)
    files = RunFiles.of(state, run_id)
    script = None if params.script is None else Path(params.script)
    mailbox = params.mailbox(run_id, files)
    session = DesignerSession(params.spec().designer, state, script, params.model, mailbox)
    # From the first file on: a search that cannot begin leaves nothing behind.
    with computing_on(params.device), nothing_left(files), _opened(files, params, session) as found:
        if found.finished is None or params.device is not None:
            require_same_device(files.read_facts(), run_id, default_device())
        keep_facts(files, found.spec.facts, params.facts)
        save_params(state, run_id, params)
        bench = SearchBench(
            params.model,
            state,
            params.seed,
            console.report,
            spec=found.spec,
            run_id=run_id,
            designs_in=params.designs_in,
            log_id=found.log_id,
        )
        driver = Driver(found, state, run_id, bench, session)
        driver.facts.add(command=params.command())
        driver.received, driver.mailbox, driver.waits = (
            session.received,
            session.mailbox,
            params.wait,
        )
        yield driver, session


def _opened(files: RunFiles, params: SearchParams, session: DesignerSession) -> Search:
    if not files.log.exists():
        _require_ready(params, session)
    return Search.open(
        files.folder,
        params.spec(),
        prompts=template_folder(files, params),
        overlapping=session.elsewhere,
    )


def _require_ready(params: SearchParams, session: DesignerSession) -> None:
    """Check that a new search has its sandbox and its designer."""
    require_docker(params)
    session.check()


def is_done(driver: Driver, params: SearchParams) -> bool:
    """Whether only the result is left to show; files that have changed since are refused.

    A stage that was run alone may have sealed the search, or written its page, before.
    """
    found, files = driver.search, driver.files
    kept = files.page.exists() and (
        is_kept(files, driver.facts.known, params.dtype) or found.best is None
    )
    if found.finished is None or not kept:
        return False
    require_same_files(driver.bench, driver.facts.known)
    return True


@contextmanager
def working(
    driver: Driver, session: DesignerSession, params: SearchParams, *, asks: bool = True
) -> Iterator[None]:
    """Make a search ready for its steps: model and text loaded, calibrated, designer reachable."""
    bench = driver.bench
    will_ask = driver.search.finished is None and asks
    if will_ask:
        require_same_designer(driver.run_id, driver.facts.known, session.kind)
    with opened(bench), closing(session):
        if will_ask:
            _check_early(driver.search, bench, session)
        _prepare(driver, session)
        facts = driver.facts.known
        console.screen().event(
            f"{driver.search.spec.model}: {facts['prunable']:,} prunable weights in "
            f"{facts['blocks']} blocks, dense perplexity {facts['dense_perplexity']:.2f}"
        )
        console.screen().mute(console.INNER_STAGES)
        try:
            yield
        finally:
            # Also of a search that was interrupted, which may be resumed without a question.
            if session.seen:
                seen_answers = [canary.to_json() for canary in session.seen]
                driver.facts.add(designer=session.label, designer_answers=seen_answers)


def announce(driver: Driver) -> None:
    """Say before the first step how often the sealed text was looked at, and the time needed."""
    found, facts, event = driver.search, driver.facts.known, console.screen().event
    warning = SealedSet(**facts["sealed_set"]).warning
    if warning and found.finished is None:
        event(warning)
    if "estimate" in facts and not found.spent.seconds:
        seen, before = Estimate(**facts["estimate"]), facts["stages"]["calibration"]
        for line in foreseen(found.spec, seen, before):
            event(line)


@contextmanager
def helped(driver: Driver, params: SearchParams) -> Iterator[None]:
    """Give a driver the workers that its search asks for, if any; note what slowed it down."""
    config = bench_config(driver.bench)
    place = (params.runner, params.workers, params.runner_address)
    with workers(*place, config) as driver.workers:
        yield
    if (by := slowed()) is not None:
        driver.facts.add(slowed_by_others=by)


def _check_early(found: Search, bench: SearchBench, session: DesignerSession) -> None:
    """Find out early what is missing, before minutes of work, and where the designer is."""
    bench.sandbox  # noqa: B018 (opening it, where there is one, is the check)
    session.check()
    for canary in session.seen:
        console.screen().event(f"designer: {canary}")
    if session.mailbox is not None:
        console.screen().event(f"questions are in {session.mailbox.folder}; waiting costs no time")
    elif found.overlapping:
        console.screen().event(
            "it answers on another machine and is asked while recipes are measured"
        )


def _prepare(driver: Driver, session: DesignerSession) -> None:
    kept, bench = driver.facts, driver.bench
    started = time.monotonic()
    known = kept.known
    # A record of an earlier version has no number; torch's own choice then stands.
    kept.add(threads=keep_threads(known.get("threads"), console.screen().event))
    facts = prepare(bench)
    require_same_windows(driver.run_id, known, facts)
    require_same_sources(driver.run_id, known, facts)
    for line in about_windows(driver.search.spec, facts):
        console.screen().event(line)
    _note_calibration(driver, calibrate(bench))
    if "dense_perplexity" not in known:
        dense = measure_dense(bench, SELECTION)
        seen = estimate(driver.search.spec, dense.seconds / len(dense.nll))
        kept.add(
            estimate=seen.to_json(),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            machine=environment() | {"device": default_device()},
            commit=code_commit(),
            dense_perplexity=dense.perplexity,
            stages={"calibration": time.monotonic() - started},
        )
    del facts["seconds"]
    kept.add(**facts, designer=known.get("designer", session.label))


def _note_calibration(driver: Driver, found: dict[str, Any]) -> None:
    """Record what :func:`tasks.calibrate.calibrate` found, and show it on Prefect's page.

    The run's first digest stays: statistics collected later on another machine, or with another
    number of threads, may have a different one, which a note states.
    """
    first = driver.facts.known.get("calibration", {}).get("digest", found["digest"])
    if first != found["digest"]:
        console.screen().event(
            f"statistics have the digest {found['digest'][:12]}, and had {first[:12]} when this "
            "search began"
        )
    else:
        driver.facts.add(calibration=found)
    driver.shown.calibration(calibration_markdown(found))
