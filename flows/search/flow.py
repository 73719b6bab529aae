"""The search flow: its form, its name; the work is in :mod:`flows.search.run`."""

from typing import Any

from prefect import flow

from flows.naming import run_name
from flows.search.params import SearchParams

NAME = run_name("search", SearchParams, lambda params: params.run_id())


@flow(name="search", flow_run_name=NAME, persist_result=False)
def search(params: SearchParams = SearchParams()) -> dict[str, Any]:  # noqa: B008 (frozen)
    """Search for the best way to prune a model; the same parameters resume where it stopped."""
    # Also for a run of the form: a wrong name creates no folder and no experiment.
    params.check()
    # A worker imports flows to look for their hooks, also while it cancels a run; that must not
    # load torch.
    from flows.search.run import run_search

    return run_search(params)
