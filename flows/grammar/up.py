"""Grammar of ``autoprune up``."""

import argparse
import re

from flows.terminal.option_types import positive_number

DESCRIPTION = (
    "Start or reuse the Prefect server, the MLflow server and a worker; create the work pool, the "
    "concurrency limits, the experiment and the automation that finds killed runs; deploy all "
    "flows. Running it again changes nothing. What ends by itself is started again. Nothing is "
    "searched at night unless --schedule says what. Ctrl-C stops what this command started; with "
    "--detach it all stays and `autoprune down` stops it. PREFECT_API_URL and MLFLOW_TRACKING_URI "
    "are used instead of servers of our own when set."
)
EXAMPLE = "autoprune up --detach --schedule ./my-model"


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


def _time(text: str) -> str:
    if not re.fullmatch(r"([01]?\d|2[0-3]):[0-5]\d", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no time of the day; write it as 02:00")
    return text


def _port(text: str) -> int:
    number = positive_number(text)
    if number > 65535:
        raise argparse.ArgumentTypeError(f"port {text} is above 65535")
    return number
