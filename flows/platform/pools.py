"""The work pool of a project: which one it is, and how runs are started and ended in it.

A folder remembers the pool that `autoprune up --pool` gave it. Projects with pools of their own
share a server: their deployments, runs and workers have different names.
"""

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoprune.errors import PrerequisiteError, UsageError
from autoprune.storage import write_text
from tasks.state import State

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

POOL = "autoprune"
POOL_VARIABLE = "AUTOPRUNE_POOL"
POOL_NAME = re.compile(r"(?!prefect)[a-z0-9][a-z0-9-]{0,39}")
# Where runs start: the folder that their worker was started in, which differs by machine.
WORKERS_FOLDER = "."
# Prefect's own way starts a helper process for every run, and when the run is cancelled another one
# that imports Prefect and the flow to look for hooks: seconds during which the run is not yet
# called Cancelled. With a command of its own a run is one process, and the worker looks itself.
COMMAND = "python3 -m prefect.engine"


def chosen_pool(state: State, asked: str | None = None) -> str:
    """The pool of this folder: as asked for, else ``$AUTOPRUNE_POOL``, else the one of last time.

    Raises:
        UsageError: If a name is not allowed.
    """
    file = _file(state)
    remembered = file.read_text(encoding="utf-8").strip() if file.exists() else ""
    return checked_name(asked or os.environ.get(POOL_VARIABLE) or remembered or POOL)


def checked_name(name: str) -> str:
    """The name of a pool.

    Raises:
        UsageError: If it is not allowed.
    """
    if not POOL_NAME.fullmatch(name):
        raise UsageError(
            f"the pool name {name!r} is not allowed; use lower-case letters, digits and dashes, at "
            "most 40, starting with a letter or digit and not with 'prefect'"
        )
    return name


def remember_pool(state: State, pool: str) -> None:
    """Let later commands in this folder take the same pool."""
    _file(state).parent.mkdir(parents=True, exist_ok=True)
    write_text(_file(state), f"{pool}\n")


def deployment_name(name: str, pool: str) -> str:
    """``manual`` of the usual pool, ``manual-NAME`` of another."""
    return name if pool == POOL else f"{name}-{pool}"


def worker_path(path: str | None) -> str:
    """``PATH`` of a worker, in which :data:`COMMAND` finds the interpreter that runs this."""
    return os.pathsep.join([str(Path(sys.executable).parent), *([path] if path else [])])


def prepare_pool(client: "SyncPrefectClient", pool: str) -> bool:
    """Make the pool unless it is there; what a user changed stays changed.

    Returns:
        Whether it was made now.

    Raises:
        PrerequisiteError: If it is there but paused, or its folder is not on this machine.
    """
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectNotFound
    from prefect.workers.process import ProcessWorker

    try:
        found = client.read_work_pool(pool)
    except ObjectNotFound:
        template = ProcessWorker.get_default_base_job_template()
        _default(template, "working_dir", WORKERS_FOLDER)
        _default(template, "command", COMMAND)
        client.create_work_pool(
            WorkPoolCreate(
                name=pool,
                type="process",
                base_job_template=template,
                description="Made by `autoprune up`: one process a run, on the worker's machine",
            )
        )
        return True
    if found.is_paused:
        raise PrerequisiteError(
            f"the work pool {pool!r} is paused, so no run would start; resume it with "
            f"`prefect work-pool resume {pool}` or in the UI, then run `autoprune up` again"
        )
    if found.type == "process":
        require_folder(found.base_job_template, pool)
        _hasten(client, pool, found.base_job_template)
    return False


def require_folder(template: Mapping[str, Any], pool: str = POOL) -> None:
    """See that the folder in which a pool starts its runs is on this machine.

    Args:
        template: The pool's base job template.
        pool: Its name.

    Raises:
        PrerequisiteError: If it is not.
    """
    working = template.get("variables", {}).get("properties", {}).get("working_dir", {})
    chosen = working.get("default")
    if chosen and not Path(chosen).is_dir():
        raise PrerequisiteError(
            f"the work pool {pool!r} starts its runs in {chosen}, which is no folder of this "
            f"machine, so none would start here; set its working directory to {WORKERS_FOLDER!r} "
            "(each worker's own folder) in the Prefect UI, then run `autoprune up` again"
        )


def _hasten(client: "SyncPrefectClient", pool: str, template: dict[str, Any]) -> None:
    """Give a pool that an earlier version made the command; one of a user's own stays."""
    from prefect.client.schemas.actions import WorkPoolUpdate

    if (
        template.get("variables", {})
        .get("properties", {})
        .get("command", {"default": "?"})
        .get("default")
    ):
        return
    _default(template, "command", COMMAND)
    client.update_work_pool(pool, WorkPoolUpdate(base_job_template=template))


def _default(template: dict[str, Any], variable: str, value: str) -> None:
    template["variables"]["properties"][variable]["default"] = value


def _file(state: State) -> Path:
    return state.root / "platform" / "pool"
