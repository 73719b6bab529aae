"""Stops a search quickly, however it ends; its last line is the command that resumes it."""

import logging
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager

from prefect.exceptions import TerminationSignal

from autoprune.errors import UsageError
from autoprune.search.events import EventLog
from flows.ending import end_fast
from flows.search.driver import Driver
from flows.search.posting import OpenQuestionsError
from flows.terminal import console
from tasks.run_files import RunFiles

log = logging.getLogger("autoprune.run")


@contextmanager
def stopping_well(driver: Driver) -> Iterator[None]:
    """If the body ends early, write the last record and add the resume command to the error.

    The command is a note of the exception (:pep:`678`), so that the command line prints it last and
    a traceback in Prefect's log ends with it.
    """
    try:
        yield
    except (KeyboardInterrupt, TerminationSignal) as stop:
        # TerminationSignal is Prefect's: the run was cancelled, or its worker is shutting down.
        end_fast()
        _add_next_command(driver, stop)
        console.screen().outcome(
            [f"stopped; press Retry here, or run autoprune resume {driver.run_id}"]
        )
        _last_record(driver, "KILLED")
        raise
    except Exception as error:
        if _refused(driver, error):
            # Nobody resumes it, and MLflow needs no experiment of it.
            raise
        _add_next_command(driver, error)
        # A search that only waits for answers has not failed.
        _last_record(driver, "KILLED" if isinstance(error, OpenQuestionsError) else "FAILED")
        raise


@contextmanager
def nothing_left(files: RunFiles) -> Iterator[None]:
    """If the body refuses a new search before its first step, remove the search's folder."""
    existed = files.folder.exists()
    try:
        yield
    except UsageError:
        if not existed and not (files.log.exists() and _has_outcomes(files)):
            shutil.rmtree(files.folder, ignore_errors=True)
        raise


def _has_outcomes(files: RunFiles) -> bool:
    with closing(EventLog(files.log)) as events:
        return any(event.kind == "outcome" for event in events)


def _refused(driver: Driver, error: Exception) -> bool:
    """Whether a request was wrong from the start, and would be just as wrong on resuming."""
    return isinstance(error, UsageError) and not driver.search.history()


def _add_next_command(driver: Driver, error: BaseException) -> None:
    error.add_note(f"next  autoprune resume {driver.run_id}")


def _last_record(driver: Driver, status: str) -> None:
    """Write what is known; a failure here must not hide what stopped the search."""
    try:
        driver.stop(status)
    except Exception as error:
        log.warning("the last record was not written (%s); the search's log has all of it", error)
