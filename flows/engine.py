"""Runs a flow in this process, recorded by Prefect when its API answers, unrecorded when not."""

import argparse
import logging
import os
import signal
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, Protocol, TypeVar

from flows.api_server import ApiServer, answers, log_tail, private_api, set_prefect_environment
from flows.console import Screen, open_screen
from tasks.state import State

log = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R", covariant=True)
REMOTE_SECONDS = 20.0


class Flow(Protocol[P, R]):
    """A Prefect flow, as much as is needed here."""

    @property
    def fn(self) -> Callable[P, R]:
        """The undecorated function."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run it as a recorded flow run."""


class Engine:
    """One command's state folder, screen and Prefect API.

    Args:
        state: Where files are kept.
        screen: Where progress goes.
        server: The private API; None where the user's own is used.
    """

    def __init__(self, state: State, screen: Screen, server: ApiServer | None) -> None:
        self.state = state
        self.screen = screen
        self.server = server

    def call(self, flow: Any, *args: Any) -> Any:
        """Run ``flow`` with ``args``; what it raises is raised here."""
        if self._api_ready():
            return flow(*args)
        return flow.fn(*args)

    def _api_ready(self) -> bool:
        if self.server is None:
            url = os.environ["PREFECT_API_URL"]
            ready = answers(url)
            if not ready:
                self.screen.event(
                    f"no Prefect API answers at {url}; the run goes on without its record there"
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
    """State, screen and API for one command, closed in the right order."""
    state = State.open()
    set_prefect_environment(state, verbose=args.verbose)
    quiet = args.quiet
    with _interruptible(), private_api(state) as server, open_screen(quiet=quiet) as screen:
        yield Engine(state, screen, server)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Make a plain ``kill`` as clean as Ctrl-C."""

    def stop(_number: int, _frame: types.FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
