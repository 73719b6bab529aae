"""One MLflow run for a stage that is no search: an evaluation, a study."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlflow.entities import Param, ViewType

from tasks.track.runs import LONGEST_PARAM, RUN_NAME, RUN_TAG, Tracker, metric_name

KIND_TAG = "autoprune.kind"
_LARGEST_BATCH = 900


def log_stage(
    tracker: Tracker,
    kind: str,
    model: str,
    name: str,
    *,
    params: Mapping[str, Any],
    metrics: Mapping[str, float],
    tags: Mapping[str, str],
    folder: Path | None = None,
) -> str:
    """Write a finished stage as one run; the same name writes the same run again.

    Args:
        tracker: The store.
        kind: ``evaluation`` or ``study``.
        model: Reference of the model, which names the experiment.
        name: Name of the run, unique in its kind.
        params: Settings.
        metrics: Figures by name.
        tags: Provenance.
        folder: Its files become artifacts.

    Returns:
        The run's MLflow id.
    """
    client, experiment = tracker.client, tracker.experiment(model)
    query = f"tags.`{RUN_TAG}` = '{name}' and tags.`{KIND_TAG}` = '{kind}'"
    found = client.search_runs([experiment], query, ViewType.ACTIVE_ONLY, 1)
    if found:
        run_id = str(found[0].info.run_id)
    else:
        first = {RUN_TAG: name, KIND_TAG: kind, RUN_NAME: name}
        run_id = str(client.create_run(experiment, tags=first, run_name=name).info.run_id)
        texts = {key: value if isinstance(value, str) else json.dumps(value)
                 for key, value in params.items() if value is not None}  # fmt: skip
        client.log_batch(run_id, params=[Param(k, v[:LONGEST_PARAM]) for k, v in texts.items()])
    figures = [(metric_name(key), value) for key, value in metrics.items()]
    for start in range(0, max(len(figures), 1), _LARGEST_BATCH):
        tracker.totals(run_id, dict(figures[start : start + _LARGEST_BATCH]), tags)
    if folder is not None:
        tracker.files(run_id, folder)
    tracker.end(run_id, "FINISHED")
    return run_id
