"""Where candidates and cells are measured: here, or by the workers of Dask.

The search itself always decides, asks the designer and records in its own process; only independent
validations and measurements are distributed. Outcomes do not depend on the runner, so a search may
be resumed with another one.
"""

import logging
import os
import signal
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from autoprune.errors import AutopruneError, PrerequisiteError, reason_of
from flows.safe_path import leave_out_current_folder
from tasks.remote import remote_step

# Pairs of a job's key and its answer; closing it early leaves no job waiting.
Answers = Generator[tuple[Any, Any], None, None]


class Workers:
    """A started task runner, and what its workers open; see :func:`tasks.remote.bench_config`."""

    def __init__(self, runner: Any, bench: Mapping[str, Any]) -> None:
        self._runner = runner
        self._bench = dict(bench)

    def run(self, jobs: Sequence[tuple[Any, str, str, list[Any]]]) -> Answers:
        """Run independent jobs and yield each as it finishes."""
        names: dict[Any, Any] = {}
        try:
            for name, call, step, arguments in jobs:
                job = {"call": call, "step": step, "arguments": arguments, "bench": self._bench}
                # The first job starts the processes of a cluster on this machine.
                with _interrupts_later() if names else _leaving_interrupts_to_us():
                    future = self._runner.submit(remote_step, parameters={"job": job})
                    names[future] = name
            yield from self._answers(names)
        finally:
            # A caller that stops early leaves nothing waiting, which would keep the machine busy.
            for future in names:
                cancel = getattr(future.wrapped_future, "cancel", None)
                if cancel is not None:
                    cancel()

    def _answers(self, names: dict[Any, Any]) -> Iterator[tuple[Any, Any]]:
        from prefect.futures import as_completed

        for future in as_completed(list(names)):
            name = names.pop(future)
            try:
                yield name, future.result()
            except AutopruneError:
                raise
            except Exception as error:
                reason = reason_of(error, 300)
                raise AutopruneError(
                    f"a worker failed ({reason}); what is measured is kept; see "
                    "the worker's log, then type the same command again"
                ) from error


@contextmanager
def workers(
    kind: str, count: int, address: str | None, bench: Mapping[str, Any]
) -> Iterator[Workers | None]:
    """Start a Dask cluster here, or use the one at an address; None for the kind ``thread``.

    Raises:
        PrerequisiteError: If its package is missing, the run is not recorded by Prefect, or there
            is no cluster.
    """
    if kind == "thread":
        yield None
        return
    from prefect.context import FlowRunContext

    leave_out_current_folder()
    made = _runner(count, address)
    if FlowRunContext.get() is None:
        raise PrerequisiteError(
            f"the runner {kind!r} needs Prefect, which does not record this run; leave "
            "AUTOPRUNE_PREFECT unset and see that its API answers, or use the runner thread"
        )
    with ExitStack() as stack:
        try:
            runner = stack.enter_context(made)
        except Exception as error:
            what = f"no Dask cluster answers at {address}" if address else "Dask did not start"
            raise PrerequisiteError(
                f"{what} ({reason_of(error, 300)}); see that it is there, or use the runner thread"
            ) from error
        _let_interrupts_through()
        yield Workers(runner, bench)


def _let_interrupts_through() -> None:
    """Disable Dask's garbage collector callback, in which Python silently drops a Ctrl-C."""
    from distributed.gc import disable_gc_diagnosis

    disable_gc_diagnosis(force=True)  # type: ignore[no-untyped-call]


@contextmanager
def _leaving_interrupts_to_us() -> Iterator[None]:
    """Shield processes started in the body from Ctrl-C, which a terminal sends to all of them.

    Workers would otherwise die with tracebacks while the run writes its last record.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _interrupts_later() -> Iterator[None]:
    """Defer a Ctrl-C or a plain ``kill`` to the end of the body.

    A submission serializes its context with pydantic, which turns an interrupt into an error.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = {
        number: signal.signal(number, lambda given, _frame: came.append(given))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        signal.raise_signal(came[0])


def _is_no_end(record: logging.LogRecord) -> bool:
    """Drop the message that a worker is slow to end: after a Ctrl-C that is no news."""
    return "still alive" not in record.getMessage()


def _runner(count: int, address: str | None) -> Any:
    try:
        from prefect_dask.task_runners import DaskTaskRunner

        from flows.local_dask import LocalDask
    except ImportError as error:
        raise PrerequisiteError(
            f"the runner 'dask' needs prefect-dask ({error}); type: pip install 'autoprune[dask]'"
        ) from error
    if address is not None:
        return DaskTaskRunner(address=address)
    threads = os.environ.get("OMP_NUM_THREADS")
    # The workers' processes must not import from the current folder, which may hold anything.
    os.environ["PYTHONSAFEPATH"] = "1"
    # What its parts tell each other, with tracebacks at the end, does not belong on our screen.
    logging.getLogger("distributed").setLevel(logging.WARNING)
    logging.getLogger("distributed.nanny").addFilter(_is_no_end)
    # One job per process, and processes rather than threads, since torch has its own threads.
    environment = {"OMP_NUM_THREADS": threads} if threads else {}
    options = {"n_workers": count, "env": environment}
    made: Any = DaskTaskRunner  # it says that a cluster class is a function without arguments
    return made(cluster_class=LocalDask, cluster_kwargs=options)
