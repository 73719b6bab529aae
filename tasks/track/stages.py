"""MLflow runs for a stage other than a search: an evaluation or a comparison."""

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlflow.entities import Metric, Param, RunTag, ViewType

from autoprune.digest import digest_json
from tasks.open_runs import note_open
from tasks.state import folder_tag
from tasks.track.belonging import belonging
from tasks.track.runs import (
    DIGEST_TAG,
    ENTRY_TAG,
    LONGEST_PARAM,
    LONGEST_TAG,
    PARENT,
    PLACE_TAG,
    RUN_NAME,
    RUN_TAG,
    Tracker,
    metric_name,
)

KIND_TAG = "autoprune.kind"
_LARGEST_BATCH = 900
# Most parameters in one call.
_MOST_PARAMS = 100


@dataclass(frozen=True)
class StageChild:
    """One child run of a stage.

    Args:
        id: Identifies it among the stage's children; the same when it is written again.
        name: Name for display.
        params: What it is; never changed later.
        metrics: Its figures by name.
        tags: What may change later.
    """

    id: str
    name: str
    params: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


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
    files: Iterable[Path] = (),
    parts: Iterable[StageChild] = (),
    status: str = "FINISHED",
) -> str:
    """Write a stage as one run with its parts as children; the same name overwrites it."""
    client, experiment = tracker.client, tracker.experiment(model)
    # MLflow's filters know no escapes: a name with an apostrophe stands between double quotes.
    name = name.replace('"', "'")
    query = f"tags.`{RUN_TAG}` = \"{name}\" and tags.`{KIND_TAG}` = '{kind}'"
    # Two projects may share a server and name what they measure alike.
    own = {PLACE_TAG: folder_tag(tracker.state)}
    tags = {**tags, **own}
    found = belonging(client.search_runs([experiment], query, ViewType.ACTIVE_ONLY), own)
    if found:
        run_id = str(found[0].info.run_id)
    else:
        first = {RUN_TAG: name, KIND_TAG: kind, RUN_NAME: name}
        run_id = str(client.create_run(experiment, tags=first, run_name=name).info.run_id)
        given = _params(params)
        for start in range(0, max(len(given), 1), _MOST_PARAMS):
            client.log_batch(run_id, params=given[start : start + _MOST_PARAMS])
    note_open(tracker.state, run_id)
    for part in parts:
        _write_part(tracker, experiment, run_id, kind, part)
    figures = [(metric_name(key), value) for key, value in metrics.items()]
    for start in range(0, max(len(figures), 1), _LARGEST_BATCH):
        tracker.totals(run_id, dict(figures[start : start + _LARGEST_BATCH]), tags)
    if folder is not None:
        tracker.files(run_id, folder)
    for file in files:
        tracker.file(run_id, file)
    if status == "RUNNING":
        client.update_run(run_id, status=status)
    else:
        tracker.end(run_id, status)
    return run_id


def _write_part(
    tracker: Tracker, experiment: str, parent: str, kind: str, part: StageChild
) -> None:
    """Write a part in three calls; the digest goes last, so a partial one is written again."""
    client, children = tracker.client, tracker.child_runs(parent)
    content = [part.name, dict(part.params), dict(part.metrics), dict(part.tags)]
    digest = digest_json(content)
    run = children.get(part.id)
    if run is not None and run.data.tags.get(DIGEST_TAG) == digest:
        return
    fixed = {PARENT: parent, ENTRY_TAG: part.id, KIND_TAG: f"{kind} part", RUN_NAME: part.name}
    if run is None:
        run = client.create_run(experiment, tags=fixed, run_name=part.name)
        children[part.id] = run
    run_id, now = str(run.info.run_id), int(time.time() * 1000)
    tags = {**part.tags, DIGEST_TAG: digest}
    metrics = [Metric(metric_name(key), value, now, 0) for key, value in part.metrics.items()]
    written = DIGEST_TAG in run.data.tags
    for start in range(0, max(len(metrics), 1), _LARGEST_BATCH):
        last = start + _LARGEST_BATCH >= len(metrics)
        client.log_batch(
            run_id,
            metrics=metrics[start : start + _LARGEST_BATCH],
            params=() if written or start else _params(part.params)[:_MOST_PARAMS],
            tags=[RunTag(key, value[:LONGEST_TAG]) for key, value in tags.items()] if last else (),
        )
    client.set_terminated(run_id, "FINISHED")
    run.data.tags.update(tags)


def _params(values: Mapping[str, Any]) -> list[Param]:
    texts = {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in values.items()
        if value is not None
    }
    return [Param(metric_name(key), text[:LONGEST_PARAM]) for key, text in texts.items()]
