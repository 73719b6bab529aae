"""What is kept of a search besides its log, as it becomes known: ``facts.json``."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict, Unpack, cast

from autoprune.storage import write_json


class Facts(TypedDict, total=False):
    """All facts of a search; those that are not known yet, or to its version, are left out.

    Args:
        command: Line that starts the same search.
        created: When the dense model was first measured, in ISO 8601.
        machine: Processor, memory, system, device and versions.
        commit: Commit of the program; None: installed.
        threads: Number of torch's threads.
        slowed_by_others: What other processes used meanwhile.
        model_digest: SHA-256 of the model's files.
        blocks: Number of the model's blocks.
        prunable: Number of its prunable weights.
        layer_numel: Weights by layer.
        quantised: Types of a quantised source; empty: it is not.
        parts: Documents, digest, windows and tokens by part of the text.
        overlap: Text that the parts share.
        beginning_token: What each window begins with.
        windows_version: Version of the cut.
        fewer_windows: Why the sealed part has fewer windows than asked for; empty: it has not.
        calibration: What was collected, its digest and time.
        dense_perplexity: On the selection part.
        dense_sealed_perplexity: On the sealed part.
        estimate: Time that the search was expected to take.
        stages: Seconds by stage.
        sealed_set: What was known about the sealed set before the search looked.
        sealed_looks: Looks at it, the search's included.
        designer: Kind and model of the designer.
        designer_answers: What it was seen to enforce.
        left: What is left of each limit, for a designer in another process.
        progress: How far the search is, for the same.
        checkpoint: The winner's files and counts.
        mirrored: MLflow's id of the run.
        mlflow_place: Where to see it, in Markdown.
        registered: Name, version and address of the winner in the registry.
    """

    command: str
    created: str
    machine: dict[str, str]
    commit: str | None
    threads: int
    slowed_by_others: dict[str, float]
    model_digest: str
    blocks: int
    prunable: int
    layer_numel: dict[str, int]
    quantised: str
    parts: dict[str, dict[str, Any]]
    overlap: list[dict[str, Any]]
    beginning_token: Any
    windows_version: int
    fewer_windows: str
    calibration: dict[str, Any]
    dense_perplexity: float
    dense_sealed_perplexity: float
    estimate: dict[str, Any]
    stages: dict[str, float]
    sealed_set: dict[str, Any]
    sealed_looks: int
    designer: str
    designer_answers: list[dict[str, Any]]
    left: dict[str, Any]
    progress: dict[str, Any]
    checkpoint: dict[str, Any]
    mirrored: str | None
    mlflow_place: str
    registered: dict[str, Any]


class KeptFacts:
    """The facts of a search in the process that works on it, the only one that writes them.

    Args:
        path: Their file.
        known: What it holds.
    """

    def __init__(self, path: Path, known: Facts) -> None:
        self._path = path
        self._written: Mapping[str, Any] = {**known}
        self.known = known

    def add(self, **facts: Unpack[Facts]) -> None:
        """Add facts, or replace them; if that changes anything, all are written, atomically."""
        # As the file's readers see them: lists for tuples, and names in order.
        plain: Any = json.loads(json.dumps(facts, sort_keys=True))
        known: Mapping[str, Any] = {**self.known, **plain}
        if known != self._written or not self._path.exists():
            # First in memory: whatever ends the process meanwhile writes these, not older ones.
            self.known = cast(Facts, known)
            write_json(self._path, known)
            self._written = known
