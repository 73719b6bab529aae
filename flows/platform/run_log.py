"""Our own errors in a run's log at Prefect: once, in one line, without a traceback.

They say what was wrong and what to do. Prefect logs each one twice, with forty lines of its own.
"""

import logging

RUN_LOGGERS = ("prefect.flow_runs", "prefect.task_runs")
_seen = "_autoprune_logged"


def shorten(record: logging.LogRecord) -> bool:
    """Replace the traceback of our own error by its message; drop it the second time."""
    error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
    # Errors of the sandbox, which imports nothing of ours, have one too.
    if not hasattr(error, "exit_code"):
        return True
    if getattr(error, _seen, False):
        return False
    setattr(error, _seen, True)
    record.msg, record.args = str(error), ()
    record.exc_info = record.exc_text = None
    return True


def shorten_own_errors() -> None:
    """Let the logs of runs show our own errors in one line; may be called again."""
    for name in RUN_LOGGERS:
        logger = logging.getLogger(name)
        if shorten not in logger.filters:
            logger.addFilter(shorten)
