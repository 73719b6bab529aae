"""The stages of a search: prepare, drive the search to its end, keep the winner, report."""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from autoprune.bench.text import SELECTION
from autoprune.models.device import default_device
from autoprune.report.leaderboard import leaderboard
from autoprune.report.origin import authorship, given
from autoprune.report.run_report import next_command
from autoprune.report.sealed import SealedSet
from autoprune.report.words import draws, lead, trust
from autoprune.search.estimate import Estimate, estimate
from autoprune.search.search import Search
from flows.neighbours import keep_threads, slowed
from flows.runners import workers
from flows.search.beginning import keep_facts
from flows.search.driver import Driver
from flows.search.foreseeing import about_windows, foreseen, paid
from flows.search.leaderboard import outcome_lines
from flows.search.params import SearchParams
from flows.search.runs import require_same_device, save_params, template_folder
from flows.search.stopping import nothing_left, stopping_well
from flows.search.unchanged import (
    require_same_designer,
    require_same_files,
    require_same_sources,
    require_same_windows,
)
from flows.terminal import console
from flows.text_split import forget_split, settled
from sandbox.engine import ContainerEngine
from tasks.calibrate import calibrate, calibration_markdown
from tasks.card import write_card
from tasks.design import DesignerSession
from tasks.mirror import in_store
from tasks.prepare import measure_dense, prepare
from tasks.provenance import code_commit, machine
from tasks.prune import rounding_note
from tasks.remote import bench_config
from tasks.report import write_page, write_report
from tasks.run_files import RunFiles
from tasks.run_markdown import run_markdown
from tasks.search_bench import SearchBench
from tasks.shared import open_store
from tasks.state import State, without_machine_paths
from tasks.switches import computing_on, prices, tracing_wanted
from tasks.winner import is_kept, keep_winner, register_winner
from tasks.workbench import opened


def run_search(params: SearchParams) -> dict[str, Any]:
    """Run a search to its end, from the start or from where it stopped."""
    with opened_search(params) as (driver, session):
        found, files = driver.search, driver.files
        # A stage that was run alone may have sealed the search, or written its page, before.
        kept = files.page.exists() and (is_kept(files, params.dtype) or found.best is None)
        is_done = found.finished is not None and kept
        if is_done:
            require_same_files(driver.bench, files.read_facts())
        with stopping_well(driver):
            driver.shown.stages(driver.run_id)
            if not is_done:
                _work(driver, session, params)
            registered = _publish(driver, params)
            record = _closing(driver, params, registered)
            console.screen().outcome(outcome_lines(record))
            forget_split(params, driver.run_id)
            return record


@contextmanager
def opened_search(params: SearchParams) -> Iterator[tuple[Driver, DesignerSession]]:
    """Open a new search or resume one, with its bench and a designer that is not yet started.

    Until the context ends, models compute on the search's device.

    Args:
        params: Its settings; a search that exists already must have the same.

    Raises:
        UsageError: If it was started with other settings.
        PrerequisiteError: If another process has it open, or a new one lacks a prerequisite.
    """
    # Report wrong values now, not in every record after minutes of work.
    tracing_wanted()
    prices()
    state = State.open()
    params = settled(params, params.model, params.corpus)
    run_id = params.run_id()
    files = RunFiles.of(state, run_id)
    script = None if params.script is None else Path(params.script)
    mailbox = params.mailbox(run_id, files)
    session = DesignerSession(params.spec().designer, state, script, params.model, mailbox)
    # From the first file on: a search that cannot begin leaves nothing behind.
    with computing_on(params.device), nothing_left(files), _opened(files, params, session) as found:
        if found.finished is None or params.device is not None:
            require_same_device(files, run_id, default_device())
        keep_facts(files, found.spec.facts, params.facts)
        save_params(state, run_id, params)
        files.add_facts(command=params.command())
        bench = SearchBench(
            params.model,
            state,
            params.seed,
            console.report,
            spec=found.spec,
            run_id=run_id,
            designs_in=params.designs_in,
            judge_verifier=params.judge_verifier,
            log_id=found.log_id,
        )
        driver = Driver(found, state, run_id, bench, session)
        driver.received, driver.mailbox, driver.waits = (
            session.received,
            session.mailbox,
            params.wait,
        )
        yield driver, session


def _opened(files: RunFiles, params: SearchParams, session: DesignerSession) -> Search:
    if not files.log.exists():
        _require_ready(params, session)
    return Search.open(files.folder, params.spec(), prompts=template_folder(files, params))


def _require_ready(params: SearchParams, session: DesignerSession) -> None:
    """Check that a new search has its sandbox and its designer."""
    if params.designs_in == "docker":
        ContainerEngine().close()
    session.check()


def _work(driver: Driver, session: DesignerSession, params: SearchParams) -> None:
    found, bench = driver.search, driver.bench
    with working(driver, session, params) as facts:
        warning = SealedSet(**facts["sealed_set"]).warning
        if warning and found.finished is None:
            console.screen().event(warning)
        if "estimate" in facts and not found.spent.seconds:
            seen, before = Estimate(**facts["estimate"]), facts["stages"]["calibration"]
            for line in foreseen(found.spec, seen, before):
                console.screen().event(line)
        config = bench_config(bench, params.shared_store)
        place = (params.runner, params.workers, params.runner_address)
        with workers(*place, config) as driver.workers:
            driver.run()
        if (by := slowed()) is not None:
            driver.files.add_facts(slowed_by_others=by)
        keep(driver, params.dtype)


@contextmanager
def working(
    driver: Driver, session: DesignerSession, params: SearchParams, *, asks: bool = True
) -> Iterator[dict[str, Any]]:
    """Make a search ready for its steps: model and text loaded, calibrated, designer reachable.

    Args:
        driver: The search's driver.
        session: Its designer.
        params: Its settings.
        asks: Whether the designer may be asked, so that a missing one is found out first.

    Yields:
        The facts of the run so far.
    """
    bench = driver.bench
    bench.store = open_store(driver.state, params.shared_store)
    will_ask = driver.search.finished is None and asks
    if will_ask:
        require_same_designer(driver.run_id, driver.files.read_facts(), session.kind)
    with opened(bench), closing(session):
        if will_ask:
            _check_early(driver.search, bench, session)
        facts = _prepare(driver, session)
        console.screen().event(
            f"{driver.search.spec.model}: {facts['prunable']:,} prunable weights in "
            f"{facts['blocks']} blocks, dense perplexity {facts['dense_perplexity']:.2f}"
        )
        console.screen().mute(console.INNER_STAGES)
        yield facts
        if session.seen:
            seen_answers = [canary.to_json() for canary in session.seen]
            driver.files.add_facts(designer=session.label, designer_answers=seen_answers)


def _check_early(found: Search, bench: SearchBench, session: DesignerSession) -> None:
    """Find out early what is missing, before minutes of work, and where the designer is."""
    bench.sandbox  # noqa: B018 (opening it, where there is one, is the check)
    session.check()
    for canary in session.seen:
        console.screen().event(f"designer: {canary}")
    found.overlapping = session.elsewhere
    if session.mailbox is not None:
        console.screen().event(f"questions lie in {session.mailbox.folder}; waiting costs no time")
    elif found.overlapping:
        console.screen().event("it answers on another machine and is asked beside measurements")


def _prepare(driver: Driver, session: DesignerSession) -> dict[str, Any]:
    files, bench = driver.files, driver.bench
    started = time.monotonic()
    known = files.read_facts()
    # A record of an earlier version has no number; torch's own choice then stands.
    files.add_facts(threads=keep_threads(known.get("threads"), console.screen().event))
    facts = prepare(bench)
    if driver.search.spec.judge_verifier is not None and driver.search.finished is None:
        bench.verifier  # noqa: B018 (trained for another model, it is refused now)
    require_same_windows(driver.run_id, known, facts)
    require_same_sources(driver.run_id, known, facts)
    for line in about_windows(driver.search.spec, facts):
        console.screen().event(line)
    note_calibration(driver, calibrate(bench))
    if "dense_perplexity" not in known:
        dense = measure_dense(bench, SELECTION)
        seen = estimate(driver.search.spec, dense.seconds / len(dense.nll))
        files.add_facts(
            estimate=seen.to_json(),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            machine=machine() | {"device": default_device()},
            commit=code_commit(),
            dense_perplexity=dense.perplexity,
            stages={"calibration": time.monotonic() - started},
        )
    del facts["seconds"]
    return files.add_facts(**facts, designer=known.get("designer", session.label))


def note_calibration(driver: Driver, found: dict[str, Any]) -> None:
    """Record what :func:`tasks.calibrate.calibrate` found, and show it on Prefect's page.

    The run's first digest stays: statistics collected later on another machine, or with another
    number of threads, may have a different one, which a note states.
    """
    first = driver.files.read_facts().get("calibration", {}).get("digest", found["digest"])
    if first != found["digest"]:
        console.screen().event(
            f"statistics have the digest {found['digest'][:12]}, and had {first[:12]} when this "
            f"search began; `autoprune stage {driver.run_id} calibrate` looks into it"
        )
    else:
        driver.files.add_facts(calibration=found)
    driver.shown.calibration(calibration_markdown(found))


def keep(driver: Driver, dtype: str) -> None:
    """Save the winner's checkpoint unless it is already there, and write the report."""
    found, files = driver.search, driver.files
    driver.write_record()
    best = found.best
    if best is not None and best.recipe is not None and best.measurement is not None:
        kept = keep_winner(
            driver.bench,
            best.alias,
            best.recipe,
            best.measurement.mask_digest,
            found.spent.seconds,
            best.unsealed,
            dtype,
            found.budget_of(best.alias),
        )
        what = f"{kept['zeros']:,} of {kept['prunable']:,} weights are zero"
        if found.spec.schemes:
            what = f"{kept['total']:,} parameters"
        console.screen().event(f"{best.alias} saved: {what} in the written files")
        if note := rounding_note(driver.bench, dtype):
            console.screen().event(note)
        files.add_facts(checkpoint=kept)
        # The sealed figures and the record's next commands belong to the finished search.
        driver.write_record()
        write_card(str(driver.state.root), driver.run_id)
    write_report(str(driver.state.root), driver.run_id, None, False)


def _publish(driver: Driver, params: SearchParams) -> dict[str, Any] | None:
    """Bring MLflow up to date and register the winner; what is there stays as it is.

    Returns:
        Name, version and address of the winner in the registry; None if it is not there.
    """
    files = driver.files
    facts = files.read_facts()
    mirrored, registered = in_store(driver.state, facts)
    wanted = params.register_winner and "checkpoint" in facts and registered is None
    if not mirrored or wanted:
        if driver.mirror("FINISHED"):
            files.add_facts(mirrored=driver.parent, mlflow_place=driver.place)
        if wanted and register(driver)["ok"]:
            registered = files.read_facts()["registered"]
    show(driver)
    return registered


def show(driver: Driver) -> None:
    """Bring the flow run's page in Prefect up to date with the end of the run."""
    files = driver.files
    driver.publish()
    place = driver.place or files.read_facts().get("mlflow_place", "")
    if place:
        driver.shown.mlflow(without_machine_paths(place, driver.state.root))
    driver.shown.report(run_markdown(driver.record.report, files, place))


def register(driver: Driver) -> dict[str, Any]:
    """Register the winner's checkpoint in MLflow, which must be up to date with the record.

    Returns:
        The result of :func:`tasks.winner.register_winner`; an unreachable store is an event.
    """
    files = driver.files
    done = register_winner(str(driver.state.root), driver.run_id, driver.parent)
    if done["ok"]:
        files.add_facts(registered={key: done[key] for key in ("name", "version", "uri")})
        # What to do next depends on whether it became champion.
        driver.write_record()
        write_page(str(driver.state.root), driver.run_id)
    else:
        console.screen().event(
            f"the winner could not be registered ({done['error']}); its checkpoint lies in "
            f"{files.winner}; the same command tries again"
        )
    return done


def _closing(
    driver: Driver, params: SearchParams, registered: dict[str, Any] | None
) -> dict[str, Any]:
    """Build the result that the command prints."""
    files, facts = driver.files, driver.files.read_facts()
    report, shown = driver.record.body, driver.record.report
    found, checkpoint = driver.search.best, facts.get("checkpoint")
    saved = None if checkpoint is None else checkpoint["out"]
    return {
        "run": driver.run_id,
        "model": params.model,
        "corpus": params.corpus,
        "sparsity": shown.sparsity,
        "goal": shown.goal,
        "passed": any(e.status == "measured" for e in driver.search.entries if not e.is_baseline),
        "ended": report["ended"],
        "dense_perplexity": report["dense_perplexity"],
        "dense_sealed_perplexity": report["dense_sealed_perplexity"],
        "best": None if found is None else found.alias,
        "reference": shown.reference_name,
        "leaderboard": [row.to_json() for row in leaderboard(shown)],
        "estimate": facts.get("estimate"),
        "spent": vars(driver.search.spent),
        "facts": [
            text
            for text in (
                authorship(shown),
                lead(shown),
                draws(shown),
                *trust(shown),
                paid(driver.search),
            )
            if text
        ],
        "given": given(shown),
        "sealed_set": None if shown.sealed_set is None else shown.sealed_set.to_json(),
        "notes": driver.notes,
        "margins": [margin.to_json() for margin in shown.margins],
        "rung_correlation": shown.rung_correlation,
        "rung_pairs": shown.rung_pairs,
        "layer_correlation": shown.layer_correlation,
        "layer_pairs": shown.layer_pairs,
        "forecasts": None if (graded := driver.search.forecasts) is None else graded.to_json(),
        "judging": None if (judging := driver.search.judging) is None else judging.to_json(),
        "checks": [check.to_json() for check in shown.checks],
        "report": str(files.page),
        "checkpoint": saved,
        "zeros": None if checkpoint is None else checkpoint["zeros"],
        "prunable": facts.get("prunable"),
        "registered": registered,
        "tracking_uri": driver.state.tracking_place,
        "seconds": sum(facts.get("stages", {}).values()),
        "next": next_command(driver.search, driver.run_id, facts),
    }
