"""Variables of child processes: the ones that each needs and no others."""

from flows.platform.environment import mlflow_server_environment, worker_environment

PLACES = {"AUTOPRUNE_LEDGER": "/l/looks.jsonl", "XDG_STATE_HOME": "/state", "HOME": "/me"}


def test_runs_of_the_worker_write_the_ledger_of_whoever_started_it() -> None:
    given = PLACES | {"KEY_OF_ANOTHER_PROGRAM": "hidden"}
    found = worker_environment(given)
    assert found.items() >= PLACES.items()
    assert "KEY_OF_ANOTHER_PROGRAM" not in found
    assert "AUTOPRUNE_LEDGER" not in mlflow_server_environment(given)
