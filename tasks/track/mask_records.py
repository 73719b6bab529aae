"""What a candidate's MLflow run records for reproducing the candidate."""

import json
from pathlib import Path
from typing import Any

from mlflow.artifacts import download_artifacts
from mlflow.exceptions import MlflowException

from autoprune.errors import UsageError, reason_of
from tasks.track.runs import MASK_RECORD_FILE, Tracker

SCHEMA_VERSION = 1


def read_mask_record(tracker: Tracker, mlflow_run: str) -> dict[str, Any]:
    """Read what a candidate's run records for reproducing it."""
    try:
        place = download_artifacts(
            run_id=mlflow_run, artifact_path=MASK_RECORD_FILE, tracking_uri=tracker.tracking_uri
        )
        mask_record: dict[str, Any] = json.loads(Path(place).read_text(encoding="utf-8"))
    except (MlflowException, OSError, ValueError) as error:
        raise UsageError(
            f"the MLflow run {mlflow_run!r} in {tracker.state.tracking_place} holds no "
            f"{MASK_RECORD_FILE} ({reason_of(error, 160)}); name the run of a "
            "candidate that was measured"
        ) from error
    version = mask_record.get("schema_version")
    if version != SCHEMA_VERSION:
        raise UsageError(
            f"{MASK_RECORD_FILE} of {mlflow_run} has format {version!r}, this program reads "
            f"format {SCHEMA_VERSION}; use the version that wrote it"
        )
    return mask_record
