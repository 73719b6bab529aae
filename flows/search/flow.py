"""The search flow: what a search does, in order."""

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
    from flows.search.opening import announce, helped, is_done, opened_search, working
    from flows.search.publishing import keep, published
    from flows.search.stopping import stopping_well

    with opened_search(params) as (driver, session):
        done = is_done(driver, params)
        with stopping_well(driver):
            driver.shown.stages(driver.run_id)
            if not done:
                with working(driver, session, params):
                    announce(driver)
                    with helped(driver, params):
                        driver.run()
                    keep(driver, params.dtype)
            return published(driver, params)
