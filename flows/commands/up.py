"""``autoprune up``: servers, worker and deployments."""

import argparse
import re
import shlex
import signal
import sys
import time
import types
from collections.abc import Callable
from typing import Any

from flows.terminal.option_types import positive_number
from flows.terminal.output import emit, pairs

NAME = "up"
HELP = "start or reuse Prefect server, MLflow server and a worker, and deploy all flows"
DESCRIPTION = (
    "Start or reuse the Prefect server, the MLflow server and a worker; create the work pool, the "
    "concurrency limits, the experiment and the automation that finds killed runs; deploy all "
    "flows. Running it again changes nothing. What ends by itself is started again. Nothing is "
    "searched at night unless --schedule says what. Ctrl-C stops what this command started; with "
    "--detach it all stays and `autoprune down` stops it. PREFECT_API_URL and MLFLOW_TRACKING_URI "
    "are used instead of servers of our own when set."
)
EXAMPLE = "autoprune up --detach --schedule ./my-model"
WATCH_SECONDS = 1.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--detach", action="store_true", help="leave it running and return")
    parser.add_argument(
        "--prefect-port", type=_port, help="port of the Prefect server (default 4200)"
    )
    parser.add_argument(
        "--mlflow-port", type=_port, help="port of the MLflow server (default 5000)"
    )
    parser.add_argument(
        "--runs",
        type=positive_number,
        help="runs that the worker holds at once; heavy stages take turns (default 4)",
    )
    parser.add_argument(
        "--schedule",
        metavar="MODEL|FILE.yaml|off",
        help="search this model every night, or as a file for `autoprune search --config` says; "
        "off: nothing (default: what was scheduled last time in this folder, else nothing)",
    )
    parser.add_argument(
        "--at",
        type=_time,
        metavar="HH:MM",
        help="when, in this machine's time zone (default 02:00)",
    )
    parser.add_argument(
        "--pool",
        metavar="NAME",
        help="work pool; one of its own for each project that shares a server (default: that of "
        "last time in this folder, else autoprune)",
    )


def run(args: argparse.Namespace) -> int:
    """Bring everything up, say where it is, and stay until Ctrl-C."""
    from flows.platform.api_server import set_prefect_environment
    from flows.platform.launch import Platform
    from flows.platform.login import login_file
    from flows.platform.nights import chosen_night
    from flows.platform.pools import chosen_pool
    from tasks.state import State, without_login

    state = State.open()
    pool = chosen_pool(state, args.pool)
    night = chosen_night(state, args.schedule, args.at)
    # A terminate signal is as clean as Ctrl-C; from here on nothing started may be left behind.
    before = signal.signal(signal.SIGTERM, _interrupt)
    # A shell's background job starts with Ctrl-C ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    platform = Platform(state, _quiet if args.quiet else _say, pool, night)
    try:
        set_prefect_environment(state, verbose=args.verbose)
        platform.up(args.prefect_port, args.mlflow_port, args.runs)
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
        emit(args, record, _closing(record, args.detach))
        sys.stdout.flush()
        if args.detach or not started:
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
    while not (words := revive()):
        time.sleep(WATCH_SECONDS)
    return words


def _closing(record: dict[str, Any], detach: bool) -> str:
    from flows.platform.pools import deployment_name

    page = record["prefect"]
    stop = "autoprune down" if detach or not record["started"] else "Ctrl-C here"
    search = deployment_name("manual", record["pool"])
    login = record["login"]
    # The password itself stays off the screen, which is shared, recorded and scrolled back.
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


def _time(text: str) -> str:
    if not re.fullmatch(r"([01]?\d|2[0-3]):[0-5]\d", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no time of the day; write it as 02:00")
    return text


def _port(text: str) -> int:
    number = positive_number(text)
    if number > 65535:
        raise argparse.ArgumentTypeError(f"port {text} is above 65535")
    return number


def _interrupt(_number: int, _frame: types.FrameType | None) -> None:
    raise KeyboardInterrupt


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _quiet(_text: str) -> None:
    """Say nothing."""
