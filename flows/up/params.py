"""Parameters of ``autoprune up``."""

from typing import Annotated

from pydantic import Field

from flows.params.base import Params, setting

Port = Annotated[int | None, Field(ge=1, le=65535)]


class UpParams(Params):
    """Start or reuse the servers and a worker, and deploy all flows."""

    detach: bool = setting(False, "Leave everything running and return")
    prefect_port: Port = setting(None, "Port of the Prefect server (default 4200)", metavar="N")
    mlflow_port: Port = setting(None, "Port of the MLflow server (default 5000)", metavar="N")
    runs: int | None = setting(
        None,
        "Simultaneous runs of the worker; heavy stages take turns (default 4)",
        metavar="N",
        ge=1,
    )
    schedule: str | None = setting(
        None,
        "Model to search every night, or a settings file as for `autoprune search --config`; off: "
        "schedule nothing (default: the last schedule in this folder, else nothing)",
        metavar="MODEL|FILE.yaml|off",
    )
    at: str | None = setting(
        None,
        "Start time in this machine's time zone (default 02:00)",
        metavar="HH:MM",
        pattern=r"^([01]?\d|2[0-3]):[0-5]\d$",
        form="a time of the day, such as 02:00",
    )
    pool: str | None = setting(
        None,
        "Work pool; projects that share a server need one each (default: the last one in this "
        "folder, else autoprune)",
        metavar="NAME",
    )
