"""The deployment's form in a real browser: a wrong value is refused, a right one runs."""

import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterName

from tests.support.platform_live import Live

WAIT_SECONDS = 240.0
NOT_SENT = "Unknown error while creating flow run"
FIELDS = {
    "Calibration Windows": "4",
    "Seqlen": "48",
    "Rung Windows": "2",
    "Selection Windows": "4",
    "Sealed Windows": "3",
    "Candidates": "3",
    "Slots": "3",
    "Run": "by-hand",
}


@pytest.mark.slow
def test_a_search_is_started_from_the_form(live: Live, tiny_folder: Path) -> None:
    pytest.importorskip("selenium")
    if shutil.which("chromium") is None or shutil.which("chromedriver") is None:
        pytest.skip("chromium and chromedriver are not installed")
    from tests.support.browser import browser

    with live.client() as client, browser(height=1600) as page:
        manual = client.read_deployment_by_name("search/manual")
        address = f"http://127.0.0.1:{live.prefect}/v2/deployments/deployment/{manual.id}/run"
        page.open(address, "Login")
        page.log_in(live.login)
        page.see("Sparsity")
        page.fill("Model", str(tiny_folder))
        page.fill("Corpus", str(tiny_folder / "text.txt"))
        page.choose("Designer", "genetic")
        page.choose("Sandbox", "off")
        for name, value in FIELDS.items():
            page.fill(name, value)
        page.fill("Sparsity", "1.5")
        page.press("Submit")
        page.see("maximum of 1")
        assert not _runs(client)
        page.fill("Sparsity", "0.5")
        page.gone("maximum of 1")
        page.press("Submit")
        deadline = time.monotonic() + WAIT_SECONDS
        while not _runs(client):
            assert time.monotonic() < deadline, page.text
            if NOT_SENT in page.text:
                # Prefect's page says so now and then on a busy machine; a person presses again.
                page.press("Submit")
                time.sleep(5)
            time.sleep(0.5)
        # Prefect's page would be drawn again and again while the search runs.
        page.open("about:blank", "")
        while not (found := _runs(client))[0].state.is_final():
            assert time.monotonic() < deadline, found[0].state
            time.sleep(0.5)
        (run,) = found
        assert run.state.is_completed(), run.state.message
        page.open(f"http://127.0.0.1:{live.prefect}/v2/runs/flow-run/{run.id}", "Completed")
        page.press("Artifacts")
        page.see("search-leaderboard")


def _runs(client: SyncPrefectClient) -> list[Any]:
    named = FlowRunFilter(name=FlowRunFilterName(any_=["search-by-hand"]))
    return list(client.read_flow_runs(flow_run_filter=named))
