"""The search flow: its form, its name; the work is in :mod:`flows.searching`."""

from typing import Any

from prefect import flow
from prefect.runtime import flow_run

from flows.params import SearchParams


def _name() -> str:
    """Name of the flow run: the model's short name, never a path."""
    params = flow_run.parameters["params"]
    wanted = params if isinstance(params, SearchParams) else SearchParams.model_validate(params)
    return f"search-{wanted.run_id()}"


@flow(name="search", flow_run_name=_name, persist_result=False)
def search(params: SearchParams = SearchParams()) -> dict[str, Any]:  # noqa: B008 (frozen)
    """Search for the best way to prune a model; the same parameters go on where it stopped."""
    # A worker imports flows to look for their hooks, also while a run is being cancelled; torch
    # stays out of that.
    from flows.searching import run_search

    return run_search(params)
