"""Runs that MLflow holds of a search or a comparison."""

from typing import Any

from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from tasks.state import State
from tasks.track import Tracker


def children_of(client: MlflowClient, parent: str) -> list[Run]:
    """Children of the run of this id, in its experiment."""
    place = [client.get_run(parent).info.experiment_id]
    query = f"tags.`mlflow.parentRunId` = '{parent}'"
    found: list[Run] = client.search_runs(place, query, max_results=1000)
    return found


def mirrored(run: str) -> dict[str, Any]:
    """Runs of a search by candidate, each there once; its own under no name."""
    client = Tracker(State.open()).client
    experiments = [e.experiment_id for e in client.search_experiments()]
    (parent,) = client.search_runs(experiments, f"tags.`autoprune.run` = '{run}'")
    found = children_of(client, parent.info.run_id)
    assert len(found) == len({child.data.tags["autoprune.entry"] for child in found})
    return {child.data.tags["autoprune.entry"]: child for child in found} | {"": parent}
