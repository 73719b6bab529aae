"""The work pool of a project: its name, and how its runs are started and ended.

A folder remembers the pool that `autoprune up --pool` gave it. Projects with their own pools can
share a server: their deployments, runs and workers have different names.
"""

import copy
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
# Runs start in the folder in which their worker was started, which differs by machine.
WORKERS_FOLDER = "."
# By default, Prefect starts a helper process for every run, and on cancellation another one that
# imports Prefect and the flow to look for hooks: seconds during which the run is not yet called
# Cancelled. With a command of its own, a run is one process, and the worker itself checks it.
# The current folder, which may contain anyone's files, is not on its import path.
COMMAND = "python3 -P -m flows.platform.prefect_module prefect.engine"
EARLIER_COMMANDS = ("python3 -m prefect.engine",)


def chosen_pool(state: State, asked: str | None = None) -> str:
    """Return this folder's pool: the requested one, else ``$AUTOPRUNE_POOL``, else the last one."""
    file = _file(state)
    remembered = file.read_text(encoding="utf-8").strip() if file.exists() else ""
    return checked_name(asked or os.environ.get(POOL_VARIABLE) or remembered or POOL)


def checked_name(name: str) -> str:
    """Return the name of a pool if it is allowed."""
    if not POOL_NAME.fullmatch(name):
        raise UsageError(
            f"the pool name {name!r} is not allowed; use lower-case letters, digits and dashes, at "
            "most 40, starting with a letter or digit and not with 'prefect'"
        )
    return name


def remember_pool(state: State, pool: str) -> None:
    """Let later commands in this folder use the same pool."""
    _file(state).parent.mkdir(parents=True, exist_ok=True)
    write_text(_file(state), f"{pool}\n")


def deployment_name(name: str, pool: str) -> str:
    """Return ``manual`` for the usual pool, ``manual-NAME`` for another."""
    return name if pool == POOL else f"{name}-{pool}"


def worker_path(path: str | None) -> str:
    """Return a worker's ``PATH``, in which :data:`COMMAND` finds this interpreter."""
    return os.pathsep.join([str(Path(sys.executable).parent), *([path] if path else [])])


def prepare_pool(client: "SyncPrefectClient", pool: str) -> str:
    """Create the pool if it is missing, and close it: see :func:`closed`."""
    from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
    from prefect.exceptions import ObjectNotFound
    from prefect.workers.process import ProcessWorker

    try:
        found = client.read_work_pool(pool)
    except ObjectNotFound:
        template = ProcessWorker.get_default_base_job_template()
        client.create_work_pool(
            WorkPoolCreate(
                name=pool,
                type="process",
                base_job_template=closed(template),
                description="Made by `autoprune up`: one process a run, on the worker's machine",
            )
        )
        return f"work pool {pool}"
    if found.is_paused:
        raise PrerequisiteError(
            f"the work pool {pool!r} is paused, so no run would start; resume it with "
            f"`prefect work-pool resume {pool}` or in the UI, then run `autoprune up` again"
        )
    if found.type != "process":
        return ""
    template = closed(found.base_job_template)
    require_folder(template, pool)
    if template == found.base_job_template:
        return ""
    client.update_work_pool(pool, WorkPoolUpdate(base_job_template=template))
    return f"work pool {pool}: command, environment and folder are no longer a run's to choose"


def closed(template: Mapping[str, Any]) -> dict[str, Any]:
    """Return a base job template that takes no command, environment or folder from a run.

    Otherwise anyone who may start a run could run any program as the worker's user. A default
    command or folder set by a user of the pool becomes the fixed value. An environment is
    left out altogether, since Prefect adds a run's variables to any that is there. Other
    variables that are not declared are refused.
    """
    found = copy.deepcopy(dict(template))
    job = found.setdefault("job_configuration", {})
    variables = found.setdefault("variables", {})
    fields = variables.setdefault("properties", {})
    for name, usual in (("command", COMMAND), ("working_dir", WORKERS_FOLDER)):
        default = fields.pop(name, {}).get("default")
        value = job.get(name)
        kept = default if value is None or "{{" in str(value) else value
        job[name] = usual if not kept or kept in EARLIER_COMMANDS else kept
    fields.pop("env", None)
    job.pop("env", None)
    variables["additionalProperties"] = False
    if "required" in variables:
        variables["required"] = [name for name in variables["required"] if name in fields]
    return found


def require_folder(template: Mapping[str, Any], pool: str = POOL) -> None:
    """Check that the folder in which a pool starts its runs is on this machine."""
    chosen = template["job_configuration"]["working_dir"]
    if not Path(chosen).is_dir():
        raise PrerequisiteError(
            f"the work pool {pool!r} starts its runs in {chosen}, which is not a folder of this "
            f"machine, so none would start here; set its working directory to {WORKERS_FOLDER!r} "
            "(each worker's own folder) in the Prefect UI, then run `autoprune up` again"
        )


def _file(state: State) -> Path:
    return state.root / "platform" / "pool"
