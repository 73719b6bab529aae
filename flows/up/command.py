"""``autoprune up``: servers, worker and deployments."""

import argparse
import shlex
import signal
import sys
import time
import types
from collections.abc import Callable
from typing import Any

from flows.nightly.nights import chosen_night
from flows.platform.api_server import set_prefect_environment
from flows.platform.login import login_file
from flows.platform.pools import chosen_pool, deployment_name
from flows.terminal.output import emit, pairs
from flows.up.launch import Platform
from flows.up.params import UpParams
from tasks.state import State, without_login

WATCH_SECONDS = 1.0


def run(args: argparse.Namespace, params: UpParams) -> int:
    """Bring everything up, print the addresses, and stay until Ctrl-C."""
    state = State.open()
    pool = chosen_pool(state, params.pool)
    night = chosen_night(state, params.schedule, params.at)
    # Handle a terminate signal like Ctrl-C; from here on nothing started may be left behind.
    before = signal.signal(signal.SIGTERM, _interrupt)
    # A shell's background job starts with Ctrl-C ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    asked = params.schedule is not None or params.at is not None
    platform = Platform(state, _quiet if args.quiet else _say, pool, night, asked)
    try:
        set_prefect_environment(state, verbose=args.verbose)
        platform.up(params.prefect_port, params.mlflow_port, params.runs)
        started = list(platform.started)
        record = {
            "prefect": without_login(platform.api.removesuffix("/api")),
            "prefect_api": without_login(platform.api),
            "mlflow": without_login(platform.mlflow),
            "login": str(login_file(state)) if login_file(state).exists() else None,
            "pool": pool,
            "nightly": platform.nightly,
            "started": started,
            "state": str(state.root),
        }
        emit(args, record, _closing(record, params.detach))
        sys.stdout.flush()
        if params.detach or not started:
            return 0
        try:
            died = _watch(platform.revive)
        except Exception:
            platform.stop_started()
            raise
        platform.stop_started()
        print(f"autoprune: {died}; the rest was stopped; run `autoprune up` again", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        # A second Ctrl-C must not leave half of it running.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        _say("stopping what was started here")
        platform.stop_started()
        _say("stopped; a run that was interrupted goes on: `autoprune up`, then Retry in the UI")
        return 0
    finally:
        signal.signal(signal.SIGTERM, before)


def _watch(revive: Callable[[], str]) -> str:
    while not (text := revive()):
        time.sleep(WATCH_SECONDS)
    return text


def _closing(record: dict[str, Any], detach: bool) -> str:
    page = record["prefect"]
    stop = "autoprune down" if detach or not record["started"] else "Ctrl-C here"
    search = deployment_name("manual", record["pool"])
    login = record["login"]
    # Keep the password itself off the screen, which is shared, recorded and scrolled back.
    asked = (("login", f"cat {shlex.quote(login)}"),) if login else ()
    return "\n".join(
        (
            pairs(
                ("Prefect", page),
                ("MLflow", record["mlflow"]),
                *asked,
                ("nightly", record["nightly"]),
                ("stop", stop),
            ),
            f"next  open {page}/v2/deployments and run search/{search}, or: autoprune search",
        )
    )


def _interrupt(_number: int, _frame: types.FrameType | None) -> None:
    raise KeyboardInterrupt


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _quiet(_text: str) -> None:
    """Say nothing."""
