"""Turns: who waits for the slot of a machine and who does not."""

from pathlib import Path

from prefect.context import FlowRunContext
from prefect.settings import PREFECT_API_URL, temporary_settings

from tasks.state import State
from tasks.turns import turn


def test_a_worker_does_not_wait_for_the_slot_that_its_own_run_holds(tmp_path: Path) -> None:
    # Nobody listens there: whoever asks for a slot fails.
    nobody = temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"})
    with nobody, FlowRunContext.model_construct(detached=True), turn(State(tmp_path), "cpu"):
        assert not list(tmp_path.iterdir())
