"""A candidate's or a comparison's measurement in another process, on this machine or elsewhere.

A Dask worker gets plain JSON: what to open and what to do. It opens the model once, and returns the
same outcome as the run's own process.
"""

import atexit
import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from threading import Lock
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from autoprune.bench.text import CALIBRATION, SELECTION
from autoprune.digest import digest_json
from autoprune.errors import AutopruneError
from autoprune.progress import silent
from autoprune.search.spec import SearchSpec
from tasks.compare_bench import CompareBench
from tasks.compare_remote import (
    COMPARISON,
    common_config,
    comparison_bench,
    remote_cell,
    require_same_work,
)
from tasks.measure import TASKS
from tasks.search_bench import SearchBench
from tasks.state import HOME_VARIABLE, State
from tasks.switches import computing_on
from tasks.workbench import opened

# The call of a comparison; those of a search are tasks.
CELL = "cell"
_lock = Lock()
_open: dict[str, tuple[Any, ExitStack]] = {}


@task(
    name="remote step",
    task_run_name="{job[call]} {job[step]}",
    cache_policy=NO_CACHE,
    persist_result=False,
)
def remote_step(job: dict[str, Any]) -> dict[str, Any]:
    """Do a job in the calling process; see :func:`run_job`."""
    return run_job(job)


def run_job(job: dict[str, Any]) -> dict[str, Any]:
    """Validate or measure, one job at a time per process, since all prune the same model."""
    with _lock:
        bench = _opened(job["bench"])
        if job["call"] == CELL:
            return remote_cell(bench, job["step"], *job["arguments"])
        return TASKS[job["call"]](bench, job["step"], *job["arguments"])


def bench_config(bench: Any) -> dict[str, Any]:
    """What another process needs to open the same workbench as a search."""
    return common_config(bench) | {
        "run": bench.run_id,
        "spec": bench.spec.to_json(),
        "designs_in": bench.designs_in,
        # Workers never look at sealed text.
        "parts": {name: bench.digest(name) for name in (CALIBRATION, SELECTION)},
    }


def _opened(config: dict[str, Any]) -> Any:
    """Open the workbench of this process, once for a run."""
    import torch

    digest = digest_json(config)
    if digest in _open:
        return _open[digest][0]
    _close()
    torch.set_num_threads(config["threads"])
    state = State.open(None if os.environ.get(HOME_VARIABLE) else Path(config["root"]))
    bench: CompareBench | SearchBench
    if config.get("kind") == COMPARISON:
        bench = comparison_bench(state, config)
    else:
        bench = _search_bench(state, config)
    stack = ExitStack()
    stack.enter_context(opened(bench))
    _open[digest] = bench, stack
    try:
        with computing_on(config["device"]):
            found = bench.loaded.source.digest
        if found != config["model_digest"]:
            raise AutopruneError(
                f"the model {config['model']} on this worker is not the one of the run (digest "
                "differs); give every machine the same files, for example by a shared folder"
            )
        require_same_work(bench, config)
    except BaseException:
        _close()
        raise
    return bench


def _search_bench(state: State, config: Mapping[str, Any]) -> SearchBench:
    return SearchBench(
        config["model"],
        state,
        config["seed"],
        silent,
        dtype=config["dtype"],
        spec=SearchSpec.recorded(config["spec"]),
        run_id=f"{config['run']}-{os.getpid()}",
        designs_in=config["designs_in"],
    )


def _close() -> None:
    """Release the model and the containers of the last run."""
    while _open:
        _open.popitem()[1][1].close()


atexit.register(_close)
