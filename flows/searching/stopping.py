"""Stops a search quickly, however it ends; its last line is the command that resumes it."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from prefect.exceptions import TerminationSignal

from autoprune.errors import UsageError
from flows.ending import end_fast
from flows.searching.driver import Driver
from flows.searching.posting import OpenQuestionsError

log = logging.getLogger("autoprune.run")


@contextmanager
def stopping_well(driver: Driver) -> Iterator[None]:
    """If the body ends early, write the last record and add the resume command to the error.

    The command is a note of the exception (:pep:`678`), so that the command line prints it last and
    a traceback in Prefect's log ends with it.

    Args:
        driver: The search that is worked on.
    """
    try:
        yield
    except (KeyboardInterrupt, TerminationSignal) as stop:
        # TerminationSignal is Prefect's: the run was cancelled, or its worker is shutting down.
        end_fast()
        _name_way_on(driver, stop)
        _last_record(driver, "KILLED")
        raise
    except Exception as error:
        _name_way_on(driver, error)
        # A search that only waits for answers has not failed.
        _last_record(driver, "KILLED" if isinstance(error, OpenQuestionsError) else "FAILED")
        raise


def _name_way_on(driver: Driver, error: BaseException) -> None:
    # A wrong request at the start would be just as wrong on resuming.
    if not isinstance(error, UsageError) or driver.search.history():
        error.add_note(f"next  autoprune resume {driver.run_id}")


def _last_record(driver: Driver, status: str) -> None:
    """Write what is known; a failure here must not hide what stopped the search."""
    try:
        driver.stop(status)
    except Exception as error:
        log.warning("the last record was not written (%s); the search's log has all of it", error)
