"""Grammar of ``autoprune up``."""

import argparse
import re

from flows.terminal.option_types import positive_number

DESCRIPTION = """\
Start or reuse the Prefect server, the MLflow server and a worker. Create the
work pool, the concurrency limits, the experiment and the automation that finds
killed runs, and deploy all flows. Running it again changes nothing. If
PREFECT_API_URL and MLFLOW_TRACKING_URI are set, those servers are used instead.

No search runs at night unless --schedule names it. In the foreground, a part
that ends by itself is restarted, and Ctrl-C stops what this command started.
With --detach, everything keeps running until `autoprune down`, and nothing
restarts a part that ends.
"""
EXAMPLE = "autoprune up --detach --schedule ./my-model"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--detach", action="store_true", help="leave everything running and return")
    parser.add_argument(
        "--prefect-port", type=_port, metavar="N", help="port of the Prefect server (default 4200)"
    )
    parser.add_argument(
        "--mlflow-port", type=_port, metavar="N", help="port of the MLflow server (default 5000)"
    )
    parser.add_argument(
        "--runs",
        type=positive_number,
        metavar="N",
        help="simultaneous runs of the worker; heavy stages take turns (default 4)",
    )
    parser.add_argument(
        "--schedule",
        metavar="MODEL|FILE.yaml|off",
        help="model to search every night, or a settings file as for `autoprune search --config`; "
        "off: schedule nothing (default: the last schedule in this folder, else nothing)",
    )
    parser.add_argument(
        "--at",
        type=_time,
        metavar="HH:MM",
        help="start time in this machine's time zone (default 02:00)",
    )
    parser.add_argument(
        "--pool",
        metavar="NAME",
        help="work pool; projects that share a server need one each (default: the last one in this "
        "folder, else autoprune)",
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
