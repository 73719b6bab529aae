"""Our own errors in the log that Prefect keeps of a run."""

import logging

import pytest

from autoprune.errors import UsageError
from flows.platform.run_log import RUN_LOGGERS, shorten_own_errors
from sandbox.errors import SandboxUnavailableError


def logged(name: str, error: Exception, caplog: pytest.LogCaptureFixture) -> list[str]:
    logger = logging.getLogger(name)
    handler = caplog.handler
    logger.addHandler(handler)
    caplog.clear()
    try:
        raise error
    except type(error):
        logger.exception("Encountered exception during execution: %r", error)
        logger.error("Engine execution exited with unexpected exception", exc_info=True)
    finally:
        logger.removeHandler(handler)
    found = {id(record): record for record in caplog.records}.values()
    return [logging.Formatter("%(message)s").format(record) for record in found]


@pytest.mark.parametrize("name", RUN_LOGGERS)
def test_our_own_error_is_one_line_and_a_fault_keeps_its_traceback(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    shorten_own_errors()
    lines = logged(name, UsageError("sparsity 2 is not a share; take 0 to 1"), caplog)
    assert lines == ["sparsity 2 is not a share; take 0 to 1"]
    away = SandboxUnavailableError("no Docker Engine answers; start it")
    assert logged(name, away, caplog) == ["no Docker Engine answers; start it"]
    fault = logged(name, ValueError("a fault of ours"), caplog)
    assert len(fault) == 2 and all("Traceback" in line for line in fault)


def test_every_flow_brings_it() -> None:
    import flows

    assert flows.__doc__
    assert all(logging.getLogger(name).filters for name in RUN_LOGGERS)
