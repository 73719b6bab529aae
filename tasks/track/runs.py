"""MLflow as a mirror of a search: one store, and the runs in it.

Only the client with explicit run ids is used: MLflow's active run belongs to one thread, and a task
may run in another. Everything here may be repeated: existing data is left as it is, so mirroring
again repairs both an interrupted search and a lost database.
"""

import json
import logging
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from urllib.request import url2pathname

import mlflow
from filelock import FileLock
from mlflow.entities import Experiment, Metric, Param, Run, RunStatus, RunTag, ViewType
from mlflow.tracking import MlflowClient

from autoprune.digest import digest_json
from autoprune.plain_text import in_markdown
from autoprune.report.data import ReportEntry
from tasks.open_runs import note_closed, note_open
from tasks.state import TRACKING_VARIABLE, State, folder_tag, model_slug
from tasks.track.belonging import belonging
from tasks.track.pages import all_pages

PARENT = "mlflow.parentRunId"
RUN_NAME = "mlflow.runName"
NOTE = "mlflow.note.content"
RUN_TAG = "autoprune.run"
# The state folder of a search; on a server, searches of several have the same name.
PLACE_TAG = "autoprune.folder"
# The log of a search; after `autoprune rm`, another may have the name.
LOG_TAG = "autoprune.log"
ENTRY_TAG = "autoprune.entry"
DIGEST_TAG = "autoprune.record_digest"
MASKS_TAG = "autoprune.mask_digest"
# Everything that determines a candidate's masks, in place of its weights.
MASK_RECORD_FILE = "reproduce.json"
LONGEST_TAG = 7900
# What we last wrote into a run's description.
OURS = "autoprune.summary"
LONGEST_PARAM = 5900
# The leader's rank and verdict change with every candidate; they belong to the leaderboard.
VOLATILE = ("rank",)


@dataclass
class Tracker:
    """One MLflow store, and what it already holds for the searches of this process.

    Args:
        state: Where the SQLite file and the artifacts are.
    """

    state: State
    _children: dict[str, dict[str, Run]] = field(default_factory=dict)
    _parents: dict[tuple[str, str], str] = field(default_factory=dict)

    @property
    def tracking_uri(self) -> str:
        """Address of the store."""
        return self.state.tracking_uri

    @cached_property
    def client(self) -> MlflowClient:
        """The client; the database is created under a lock, since two creators would collide."""
        self.state.artifacts.mkdir(parents=True, exist_ok=True)
        for chatty in ("mlflow", "alembic"):
            logging.getLogger(chatty).setLevel(logging.WARNING)
        # The registry resolves `models:/` through the process-wide address, for any client.
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        # A server's client prints a link for every run that ends; stdout is for the result only.
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
        named = TRACKING_VARIABLE in os.environ
        mlflow.set_tracking_uri(self.tracking_uri)
        if not named:
            # MLflow sets it too, and this process's next state folder would use the same store.
            os.environ.pop(TRACKING_VARIABLE, None)
        mlflow.set_registry_uri(self.tracking_uri)
        with self._lock:
            client = MlflowClient(tracking_uri=self.tracking_uri, registry_uri=self.tracking_uri)
            client.search_experiments(max_results=1)
        return client

    @cached_property
    def _lock(self) -> FileLock:
        return FileLock(str(self.state.root / "mlflow.lock"))

    def experiment(self, model: str) -> str:
        """Id of ``autoprune/<model>``, created with an absolute artifact location."""
        name = f"autoprune/{model_slug(model)}"
        client = self.client
        with self._lock:
            found: Experiment | None = client.get_experiment_by_name(name)
            if found is not None:
                if found.lifecycle_stage == "deleted":  # in the UI; its name stays taken
                    client.restore_experiment(found.experiment_id)
                return str(found.experiment_id)
            local = self.tracking_uri.startswith("sqlite:")
            location = (self.state.artifacts / model_slug(model)).as_uri() if local else None
            return str(client.create_experiment(name, artifact_location=location))

    def parent(
        self, model: str, run_id: str, spec: Mapping[str, Any], tags: Mapping[str, str],
        log: str = "",
    ) -> str:  # fmt: skip
        """MLflow id of a search's parent run, created or found again."""
        if (run_id, log) in self._parents:
            return self._parents[run_id, log]
        experiment = self.experiment(model)
        query = f"tags.`{RUN_TAG}` = '{run_id}' and tags.`autoprune.kind` = 'search'"
        # Found and created under one lock: an interrupted run may still be writing its last words.
        with self._lock:
            place = folder_tag(self.state)
            known = self.client.search_runs([experiment], query, ViewType.ACTIVE_ONLY)
            own = {PLACE_TAG: place} | ({LOG_TAG: log} if log else {})
            # Earlier versions named no folder, and no log.
            found = belonging(known, own)
            if not found:
                all_tags = {RUN_TAG: run_id, "autoprune.kind": "search", RUN_NAME: run_id, **tags}
                all_tags |= own
                run = self.client.create_run(experiment, tags=_clipped(all_tags), run_name=run_id)
                self.client.log_batch(run.info.run_id, params=_params(_scalars(spec)))
                found = [run]
        mlflow_id = str(found[0].info.run_id)
        for tag, value in own.items():
            if tag not in found[0].data.tags:
                self.client.set_tag(mlflow_id, tag, value)
        if found[0].info.status != "RUNNING":
            self.client.update_run(mlflow_id, status="RUNNING")
        note_open(self.state, mlflow_id)
        self._parents[run_id, log] = mlflow_id
        return mlflow_id

    def mirror(
        self,
        parent_id: str,
        entries: Iterable[ReportEntry],
        mask_records: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> int:
        """Write every entry that is new or changed as a child run."""
        children = self.child_runs(parent_id)
        written = 0
        for entry in entries:
            record = {key: value for key, value in entry.to_json().items() if key not in VOLATILE}
            mask_record = (mask_records or {}).get(entry.id)
            digest = digest_json([record, mask_record] if mask_record else record)
            known = children.get(entry.id)
            if known is not None and known.data.tags.get(DIGEST_TAG) == digest:
                continue
            if known is None:
                # Known at once: if writing fails below, the next call goes on in the same run.
                experiment = self.experiment_of(parent_id)
                tags = _clipped(_entry_tags(entry) | {PARENT: parent_id})
                known = self.client.create_run(experiment, tags=tags, run_name=entry.alias)
                children[entry.id] = known
            self._write_child(parent_id, known, entry, digest, mask_record)
            written += 1
        return written

    def curve(self, parent_id: str, points: Mapping[str, Iterable[tuple[int, float]]]) -> None:
        """Log curves on the parent, without the steps that are already there."""
        now = _milliseconds()
        fresh = []
        for name, values in points.items():
            logged = {metric.step for metric in self.client.get_metric_history(parent_id, name)}
            fresh += [Metric(name, value, now, at) for at, value in values if at not in logged]
        if fresh:
            self.client.log_batch(parent_id, metrics=fresh)

    def totals(self, parent_id: str, values: Mapping[str, float], tags: Mapping[str, str]) -> None:
        """Log the final figures and tags of a run."""
        now = _milliseconds()
        metrics = [Metric(name, value, now, 0) for name, value in values.items()]
        texts = [RunTag(name, value[:LONGEST_TAG]) for name, value in tags.items()]
        self.client.log_batch(parent_id, metrics=metrics, tags=texts)

    def describe(self, parent_id: str, text: str) -> None:
        """Set the description that MLflow shows with a run, unless a person has written one."""
        text = text[:LONGEST_TAG]
        tags = self.client.get_run(parent_id).data.tags
        if tags.get(NOTE) in (None, tags.get(OURS)):
            both = [RunTag(NOTE, text), RunTag(OURS, text)]
            self.client.log_batch(parent_id, tags=both)

    def end(self, parent_id: str, status: str) -> None:
        """Close the parent: ``FINISHED``, ``FAILED`` or ``KILLED``; mirroring opens it again."""
        self.client.set_terminated(parent_id, status)
        note_closed(self.state, parent_id)
        self._parents = {ours: id_ for ours, id_ in self._parents.items() if id_ != parent_id}

    def file(self, parent_id: str, path: Path) -> None:
        """Copy one file into the run's artifacts."""
        self.client.log_artifact(parent_id, str(path))

    def files(self, parent_id: str, folder: Path, place: str | None = None) -> None:
        """Copy a folder's files into the run's artifacts."""
        self.client.log_artifacts(parent_id, str(folder), place)

    def children(self, parent_id: str) -> dict[str, str]:
        """MLflow run of each written entry."""
        return {name: str(run.info.run_id) for name, run in self.child_runs(parent_id).items()}

    def searches(self) -> dict[str, str]:
        """MLflow id of each search's parent run by our name: this folder's, else the latest."""
        found, place = self._all_runs("tags.`autoprune.kind` = 'search'"), folder_tag(self.state)
        # The last one of a name counts.
        found.reverse()
        found.sort(key=lambda run: run.data.tags.get(PLACE_TAG) == place)
        return {run.data.tags[RUN_TAG]: str(run.info.run_id) for run in found}

    def measured(self, parent_id: str) -> list[Run]:
        """Runs of a search's entries whose masks are recorded."""
        return [run for run in self.child_runs(parent_id).values() if MASKS_TAG in run.data.tags]

    def _all_runs(self, query: str) -> list[Run]:
        places = [one.experiment_id for one in self.client.search_experiments()]
        return self._runs_in(places, query) if places else []

    def _runs_in(self, places: list[str], query: str) -> list[Run]:
        search = self.client.search_runs
        return all_pages(lambda token: search(places, query, max_results=500, page_token=token))

    def child_runs(self, parent_id: str) -> dict[str, Run]:
        """The child runs of a parent by the value of :data:`ENTRY_TAG`; cached in memory."""
        if parent_id not in self._children:
            experiment = self.client.get_run(parent_id).info.experiment_id
            query = f"tags.`{PARENT}` = '{parent_id}' and tags.`{ENTRY_TAG}` LIKE '%'"
            found = self._runs_in([experiment], query)
            self._children[parent_id] = {
                run.data.tags[ENTRY_TAG]: run for run in found if ENTRY_TAG in run.data.tags
            }
        return self._children[parent_id]

    def _write_child(
        self,
        parent_id: str,
        known: Run,
        entry: ReportEntry,
        digest: str,
        mask_record: Mapping[str, Any] | None,
    ) -> None:
        tags = _clipped(_entry_tags(entry) | {PARENT: parent_id})
        if mask_record is not None:
            tags[MASKS_TAG] = mask_record["mask_digest"]
        run_id = known.info.run_id
        now = _milliseconds()
        # The digest goes last, after the files: after a crash in between, all is written again.
        self._write_files(known, entry, mask_record)
        done = {**tags, DIGEST_TAG: digest}
        self.client.log_batch(
            run_id,
            metrics=[Metric(name, value, now, 0) for name, value in _entry_metrics(entry).items()],
            params=_params(_entry_params(entry)) if DIGEST_TAG not in known.data.tags else (),
            tags=[RunTag(name, value) for name, value in done.items()],
        )
        self.client.set_terminated(run_id, RunStatus.to_string(RunStatus.FINISHED))
        known.data.tags.update(done)

    def experiment_of(self, parent_id: str) -> str:
        """Id of the experiment that a run belongs to."""
        for run in self._children.get(parent_id, {}).values():
            return str(run.info.experiment_id)
        return str(self.client.get_run(parent_id).info.experiment_id)

    def _write_files(self, run: Run, entry: ReportEntry, masks: Mapping[str, Any] | None) -> None:
        """Write source, layers and the whole record as files; directly to disk if it is local."""
        code = "candidate.py" if entry.language in ("python", "program") else "candidate.txt"
        record = entry.to_json()
        files = {"layer_sparsity.json": record["layer_sparsity"], "record.json": record}
        if masks is not None:
            files[MASK_RECORD_FILE] = dict(masks)
        folder = local_path(run.info.artifact_uri)
        if folder is not None:
            # No fsync: the next mirroring rewrites what a power cut destroys.
            folder.mkdir(parents=True, exist_ok=True)
            (folder / code).write_text(entry.source + "\n", encoding="utf-8")
            for name, content in files.items():
                (folder / name).write_text(json.dumps(content))
            return
        self.client.log_text(run.info.run_id, entry.source + "\n", code)
        for name, content in files.items():
            self.client.log_dict(run.info.run_id, content, name)


def local_path(uri: str) -> Path | None:
    """The folder behind an artifact address; None if it is not on this machine."""
    parts = urlparse(uri)
    if parts.scheme == "file":
        return Path(url2pathname(parts.path))
    return Path(uri) if not parts.scheme and Path(uri).is_absolute() else None


def _entry_tags(entry: ReportEntry) -> dict[str, str]:
    wrote = entry.author or "no language model"
    reasoning = entry.reasoning or f"(no reasoning: written by {wrote})"
    note = f"**{in_markdown(entry.formula)}**\n\n{in_markdown(reasoning)}"
    if entry.detail:
        note += f"\n\nrejected, `{entry.code}`: {in_markdown(entry.detail)}"
    return {
        RUN_NAME: entry.alias,
        ENTRY_TAG: entry.id,
        NOTE: note,
        "autoprune.kind": entry.kind,
        "autoprune.status": entry.verdict,
        "autoprune.reject_code": entry.code,
        "autoprune.operator": entry.operator,
        "autoprune.author": entry.author,
        "autoprune.designer_model": entry.model,
        "autoprune.parents": ",".join(entry.parents),
        "autoprune.front": "perplexity and seconds" if entry.front else "",
        "autoprune.order": str(entry.order),
        "autoprune.formula": entry.formula,
        "autoprune.source": entry.source,
        "autoprune.reasoning": entry.reasoning,
    }


def _entry_metrics(entry: ReportEntry) -> dict[str, float]:
    values: dict[str, float | None] = {
        "perplexity": entry.perplexity,
        "sealed_perplexity": entry.sealed_perplexity,
        "change_vs_wanda_share": entry.change_vs_wanda,
        "sparsity_share": entry.sparsity,
        "seconds": entry.seconds,
        "designer_tokens": entry.tokens,
    }
    values |= {f"perplexity_{rung}": value for rung, value in entry.rungs.items()}
    return {metric_name(name): float(value) for name, value in values.items() if value is not None}


def _entry_params(entry: ReportEntry) -> dict[str, Any]:
    names = ("language", "group", "allocation", "solver", "formula", "prediction")
    return {name: value for name in names if (value := getattr(entry, name))}


def metric_name(name: str) -> str:
    """The name with characters that MLflow does not allow replaced."""
    return "".join(letter if letter.isalnum() or letter in "_-./ :" else "_" for letter in name)


def _scalars(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, item in value.items():
        if isinstance(item, Mapping):
            flat |= _scalars(item, f"{prefix}{key}.")
        elif isinstance(item, str | int | float | bool):
            flat[f"{prefix}{key}"] = item
        elif item is not None:
            flat[f"{prefix}{key}"] = json.dumps(item)
    return flat


def _params(values: Mapping[str, Any]) -> list[Param]:
    return [Param(name, str(value)[:LONGEST_PARAM]) for name, value in values.items()]


def _clipped(tags: Mapping[str, str]) -> dict[str, str]:
    return {name: value[:LONGEST_TAG] for name, value in tags.items()}


def _milliseconds() -> int:
    return int(time.time() * 1000)
