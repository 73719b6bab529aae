"""Finds the run that a command means, and the settings it was started with."""

from pathlib import Path

from filelock import FileLock, Timeout

from autoprune.errors import UnknownNameError, UsageError
from autoprune.search_settings import with_text_split
from autoprune.storage import read_object, write_json
from flows import library
from flows.params import checked
from flows.params.named import check_device
from flows.search.params import SearchParams
from tasks.facts import Facts
from tasks.run_files import RunFiles
from tasks.state import State

# A reader holds a log for a moment, a process that works on it until the end.
PROBE_SECONDS = 0.1


def find_run(state: State, name: str | None) -> str:
    """Return the named run, or the latest."""
    known = [run for run in state.run_ids() if RunFiles.of(state, run).log.exists()]
    if name is None:
        if not known:
            raise UsageError(
                f"there is no search in {state.runs} yet; start one with `autoprune demo` or "
                "`autoprune search`"
            )
        return known[0]
    if name not in known:
        raise UnknownNameError("run", name, known)
    return name


def at_work(state: State, run_id: str) -> bool:
    """Return whether some process holds the search's log, for longer than a reader does."""
    lock = FileLock(f"{RunFiles.of(state, run_id).log}.lock")
    try:
        with lock.acquire(timeout=PROBE_SECONDS):
            return False
    except Timeout:
        return True


def save_params(state: State, run_id: str, params: SearchParams) -> None:
    """Keep the settings of a run, so that ``autoprune resume`` finds them."""
    write_json(RunFiles.of(state, run_id).params, params.to_json() | {"run": run_id})


def going_on(state: State, run_id: str, device: str | None = None) -> SearchParams:
    """The settings a search goes on with: those it was started with, on a device that exists."""
    params = saved_params(state, run_id)
    if device is not None:
        params = params.model_copy(update={"device": device})
    check_device(params.device)
    if params.device is not None:
        require_same_device(RunFiles.of(state, run_id).read_facts(), run_id, params.device)
    return params


def require_same_device(facts: Facts, run_id: str, device: str) -> None:
    """Refuse to go on with a search on another kind of device than it measured on.

    Sums differ between devices, so that figures could not be compared, and the masks
    of the winner might not come out again. A search that has measured nothing may change it.
    """
    before = facts.get("machine", {}).get("device", device)
    if device.partition(":")[0] != before.partition(":")[0]:
        raise UsageError(
            f"the search {run_id!r} measured on the device {before}, and its figures cannot be "
            f"compared with those of {device}; continue with --device {before} where there is "
            "one, or start another search with --run NAME"
        )


def settled_precision(state: State, run_id: str, params: SearchParams) -> SearchParams:
    """Replace ``auto`` by the precision that the search was started with, else by this machine's.

    It is kept wherever the search is resumed, since all of its figures must be of one type.
    """
    if params.precision == "auto" and RunFiles.of(state, run_id).params.exists():
        precision = saved_params(state, run_id).precision
    else:
        precision = library.settled_precision(params.precision, params.device)
    return params.model_copy(update={"precision": precision, "run": run_id})


def template_folder(files: RunFiles, params: SearchParams) -> Path | None:
    """Return the template folder to open a run with; None: the run's own copy, if any.

    The folder that a run was started with is read only once: before a resume it may be edited or
    removed, or its relative path may lead elsewhere. Another folder is compared with the copy.
    """
    if files.log.exists() and files.params.exists() and files.templates.is_dir():
        started = read_object(files.params).get("prompts")
        if params.prompts == started:
            return None
    return params.prompt_folder


def saved_params(state: State, run_id: str) -> SearchParams:
    """The settings a run was started with."""
    path = RunFiles.of(state, run_id).params
    if not path.exists():
        raise UsageError(
            f"{path} is missing, so the settings of run {run_id!r} are unknown; type the command "
            f"that started it again, with --run {run_id}"
        )
    # Searches of earlier versions computed all products in float32.
    known = {"precision": "float32", **with_text_split(read_object(path))}
    params: SearchParams = checked(SearchParams, known)
    return params
