"""Runs that a killed process left RUNNING, and their children, are ended."""

from collections.abc import Iterable

from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode

from tasks.open_runs import note_closed
from tasks.track.runs import PARENT, Tracker

_MISSING = ErrorCode.Name(RESOURCE_DOES_NOT_EXIST)


def end_killed(tracker: Tracker, runs: Iterable[str]) -> list[str]:
    """End runs that nobody writes any more as KILLED; going on with one opens it again."""
    client, names = tracker.client, []
    for run_id in runs:
        run: Run | None
        try:
            run = client.get_run(run_id)
        except MlflowException as error:
            if error.error_code != _MISSING:
                raise
            run = None
        if run is None or (run.info.lifecycle_stage, run.info.status) != ("active", "RUNNING"):
            note_closed(tracker.state, run_id)
            continue
        query = f"tags.`{PARENT}` = '{run_id}' and attributes.status = 'RUNNING'"
        for child in client.search_runs([run.info.experiment_id], query):
            client.set_terminated(child.info.run_id, "KILLED")
        tracker.end(run_id, "KILLED")
        names.append(str(run.info.run_name))
    return names
