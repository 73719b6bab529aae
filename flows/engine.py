"""Runs a flow in this process, recorded by Prefect when its API answers, unrecorded when not."""

import argparse
import functools
import logging
import os
import signal
import threading
import types
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from flows.contention import slowed, watched
from flows.platform.api_server import (
    ApiServer,
    answers,
    log_tail,
    private_api,
    refuses,
    set_prefect_environment,
)
from flows.platform.services import mlflow_page
from flows.platform.stale_runs import end_left_open, mark_stale_runs, process_tag
from flows.terminal.console import Screen, open_screen
from tasks.state import PAGE_VARIABLE, State, folder_tag, without_login
from tasks.switches import RECORD_VARIABLE, switched_on

log = logging.getLogger(__name__)

_INTERRUPT = KeyboardInterrupt.__name__


class Engine:
    """One command's state folder, screen and Prefect API.

    Args:
        state: Where files are kept.
        screen: Where progress goes.
        server: The private API; None where the user's own is used.
        recorded: Whether flows are recorded by Prefect at all.
    """

    def __init__(
        self, state: State, screen: Screen, server: ApiServer | None, *, recorded: bool = True
    ) -> None:
        self.state = state
        self.screen = screen
        self.server = server
        self.recorded = recorded

    def call(self, flow: Any, *args: Any) -> Any:
        """Run ``flow`` with ``args``; its exceptions propagate."""
        recorded = self.recorded and self._api_ready()
        if not recorded:
            # What Prefect records does it when it marks stale runs.
            end_left_open(self.state)
        result = self._recorded(flow, *args) if recorded else flow.fn(*args)
        by = slowed()
        return result | {"slowed_by_others": by} if by and isinstance(result, dict) else result

    def _recorded(self, flow: Any, *args: Any) -> Any:
        """Run a flow under Prefect; keep its result even if its end cannot be recorded."""
        results: list[Any] = []
        body = flow.fn

        @functools.wraps(body)
        def keeping(*given: Any, **named: Any) -> Any:
            results.append(body(*given, **named))
            return results[-1]

        watched = flow.with_options()
        watched.fn = keeping
        from prefect import tags

        self._mark_stale_runs()
        try:
            with tags(folder_tag(self.state), process_tag()):
                return watched(*args)
        except Exception as error:
            if not results:
                if _INTERRUPT in str(error):
                    # pydantic turns a Ctrl-C during serialization into an error of its own.
                    raise KeyboardInterrupt from error
                raise
            log.info("the end of the run was not recorded", exc_info=True)
            self.screen.event(
                f"Prefect's API does not answer any more ({type(error).__name__}); the run is "
                "complete, only its record there is not"
            )
            return results[-1]

    def _mark_stale_runs(self) -> None:
        """Mark this folder's runs whose process was killed as over."""
        from prefect.client.orchestration import get_client

        try:
            with get_client(sync_client=True) as client:
                gone = mark_stale_runs(client, self.state)
        except Exception:
            # Only the record of other runs is at stake.
            log.info("runs of killed commands were not marked", exc_info=True)
            return
        if gone:
            self.screen.event(f"marked as crashed, their processes are gone: {', '.join(gone)}")

    def _api_ready(self) -> bool:
        if self.server is None:
            url = os.environ["PREFECT_API_URL"]
            ready, shown = answers(url), without_login(url)
            if not ready:
                self.screen.event(
                    f"no Prefect API answers at {shown}; the run goes on without its record there"
                )
            elif refuses(url):
                ready = False
                self.screen.event(
                    f"the Prefect API at {shown} refuses the login; set PREFECT_API_AUTH_STRING to "
                    "its name:password; the run goes on without its record there"
                )
            return ready
        ready = self.server.wait()
        if not ready:
            reason = log_tail(self.server.log_file) or "no reason given"
            self.screen.event(
                f"Prefect's API did not start ({reason}); the run goes on without its record there"
            )
        return ready


@contextmanager
def open_engine(args: argparse.Namespace) -> Iterator[Engine]:
    """Open state, screen and API for one command, and close them in the right order.

    With ``AUTOPRUNE_PREFECT=off`` flows run as plain functions.
    """
    state = State.open()
    set_prefect_environment(state, verbose=args.verbose)
    recorded = switched_on(RECORD_VARIABLE)
    with ExitStack() as stack:
        if (page := mlflow_page(state)) and PAGE_VARIABLE not in os.environ:
            # Set for what this command starts, and only while it runs.
            os.environ[PAGE_VARIABLE] = page
            stack.callback(os.environ.pop, PAGE_VARIABLE, None)
        stack.enter_context(_interruptible())
        server = stack.enter_context(private_api(state)) if recorded else None
        screen = stack.enter_context(open_screen(quiet=args.quiet))
        stack.enter_context(watched(screen.event, lambda: bool(screen.seconds)))
        yield Engine(state, screen, server, recorded=recorded)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Make a plain ``kill`` as clean as Ctrl-C, and lose neither."""
    before = {number: signal.signal(number, _stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(number: int, frame: types.FrameType | None) -> None:
    """Raise KeyboardInterrupt; delay it in a destructor, where Python would drop it."""
    while frame is not None:
        if frame.f_code.co_name == "__del__":
            threading.Timer(0.1, os.kill, (os.getpid(), number)).start()
            return
        frame = frame.f_back
    raise KeyboardInterrupt
