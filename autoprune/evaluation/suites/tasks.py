"""Suite ``tasks``: stock lm-eval with the model object, offline with local task files."""

import contextlib
import copy
import difflib
import functools
import io
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from autoprune.digest import digest_json
from autoprune.errors import PrerequisiteError, UnknownNameError, UsageError
from autoprune.evaluation.hygiene import ContaminationError
from autoprune.evaluation.suites.cleaning import ALONE, Surroundings, clean
from autoprune.evaluation.suites.provenance import (
    model_protocol,
    model_provenance,
    outputs_are_finite,
)
from autoprune.evaluation.suites.rows import Row, RowContext
from autoprune.evaluation.suites.suite import SUITES
from autoprune.evaluation.suites.task_names import GROUPS, MEANS, UNAVAILABLE
from autoprune.models.loading import LoadedModel
from autoprune.progress import Progress, Report, silent

# What those papers average: plain accuracy, not the length-normalised one.
_AVERAGED = "acc"
_NOT_METRICS = ("alias", "name", "sample_len", "sample_count")


@SUITES.register("tasks")
@dataclass(frozen=True)
class TasksSuite:
    """Every metric of every task, and the mean accuracy of each group.

    Args:
        names: Tasks of lm-eval, groups (``seven-rte``, ``seven-piqa``, ``study-classification``,
            ``study-generation``, ``study-reasoning``) or task files (``.yaml``).
        folder: Folder with local task files; data files in them are relative to the working
            directory.
        shots: Examples in the prompt; None keeps each task's own number. A task that fixes zero
            keeps zero.
        limit: Items per task; None for all.
        batch: Requests computed together.
        seed: Seed of the examples in the prompt.
    """

    names: tuple[str, ...] = ("seven-rte",)
    folder: str | None = None
    shots: int | None = None
    limit: int | None = None
    batch: int = 8
    seed: int = 1234

    name = "tasks"

    def __post_init__(self) -> None:
        if not self.names or self.batch < 1 or (self.limit or 1) < 1 or (self.shots or 0) < 0:
            raise UsageError(
                f"names {self.names}, batch {self.batch}, limit {self.limit}, shots {self.shots} "
                "is not possible; name a task, batch and limit are at least 1, shots at least 0"
            )
        if self.folder is not None and not Path(self.folder).is_dir():
            raise UsageError(f"{self.folder!r} is no folder; pass one with lm-eval task files")

    def run(
        self, loaded: LoadedModel, *, report: Report = silent, around: Surroundings = ALONE
    ) -> list[Row]:
        """Measure; see :class:`autoprune.evaluation.suites.suite.Suite`.

        Raises:
            PrerequisiteError: If lm-eval is not installed.
            UnknownNameError: If there is no such task; suggests the nearest.
        """
        with _quiet():
            manager = self._manager()
            wanted = self._task_names(manager)
            settings = {
                "lm_eval": version("lm_eval"), "limit": self.limit, "batch": self.batch,
                "seed": self.seed,
            }  # fmt: skip
            context = RowContext(
                self.name, model_protocol(loaded) | settings, model_provenance(loaded)
            )
            if not outputs_are_finite(loaded, [0]):
                reason = "the logits are NaN or infinite: the model computes no usable numbers"
                return [
                    context.missing(task, _AVERAGED, reason, status="not_finite") for task in wanted
                ]
            model = _wrap(loaded, self.batch)
            rows: list[Row] = []
            for number, task in enumerate(wanted, 1):
                reason = self._refusal(task, manager)
                if reason:
                    rows.append(context.missing(task, _AVERAGED, reason))
                else:
                    rows += self._measure(task, model, manager, context, around)
                report(Progress(self.name, number, len(wanted), task))
        return rows + [_group_mean(name, rows, context) for name in self.names if name in MEANS]

    def _manager(self) -> Any:
        names = {task for name in self.names for task in GROUPS.get(name, (name,))}
        if self.folder is None:
            return _stock_manager()
        local = _task_manager(self.folder, defaults=False)
        return local if names <= set(local.all_tasks) else _task_manager(self.folder)

    def _task_names(self, manager: Any) -> list[str]:
        names = [task for name in self.names for task in GROUPS.get(name, (name,))]
        for name in names:
            known = name in manager.all_tasks or name in UNAVAILABLE
            if not known and not Path(name).is_file():
                near = difflib.get_close_matches(name, manager.all_tasks, n=8, cutoff=0.5)
                raise UnknownNameError("task", name, {*near, *GROUPS})
        return list(dict.fromkeys(names))

    def _refusal(self, task: str, manager: Any) -> str:
        """Why a task that is known by name is not measured; empty where it can be."""
        local = self.folder is not None and task in manager.all_tasks
        if task not in UNAVAILABLE or (local and not _ships(task)):
            return ""
        return UNAVAILABLE[task].format(version=version("lm_eval"))

    def _measure(
        self, task: str, model: Any, manager: Any, context: RowContext, around: Surroundings
    ) -> list[Row]:
        from lm_eval import evaluate

        try:
            found = manager.load([task])
            for entry in found["tasks"].values():
                own = entry.get_config("num_fewshot")
                fixed = own == 0 or self.shots is None
                entry.set_config(key="num_fewshot", value=(own or 0) if fixed else self.shots)
                entry.set_fewshot_seed(seed=self.seed)
            results = evaluate(model, found, limit=self.limit, bootstrap_iters=0)
        except Exception as error:
            # Whatever a task file or its data set raises, the other tasks are still measured.
            reason = f"{type(error).__name__}: {str(error).strip().splitlines()[0][:200]}"
            return [context.missing(task, _AVERAGED, reason)]
        return [
            row
            for name, figures in results["results"].items()
            for row in _task_rows(name, figures, results, context, around)
        ]


def _task_rows(
    name: str,
    figures: Mapping[str, Any],
    results: Mapping[str, Any],
    context: RowContext,
    around: Surroundings,
) -> list[Row]:
    measured = results["samples"].get(name, [])
    # One sample per document and filter; a document is checked and counted once.
    documents = {sample["doc_id"]: sample["doc"] for sample in measured}
    texts = [_text_of(document) for document in documents.values()]
    try:
        found = clean(texts, around, what=f"the task {name!r}", items=True)
    except ContaminationError as error:
        if around.overlap == "refuse":
            raise
        # Nothing is left of this task; the other tasks are still measured.
        return [context.missing(name, _AVERAGED, str(error))]
    numbers = list(documents)
    kept = {numbers[index] for index in found.kept}
    samples = [sample for sample in measured if sample["doc_id"] in kept]
    protocol = {
        "shots": results["n-shot"].get(name), "task_version": results["versions"].get(name),
        "data": digest_json([[s["doc_hash"], s["prompt_hash"], s["target_hash"]] for s in samples]),
    }  # fmt: skip
    rows = []
    for key, value in figures.items():
        metric, _, chosen = key.partition(",")
        if metric in _NOT_METRICS or metric.endswith("_stderr"):
            continue
        if not isinstance(value, int | float):
            continue
        every, scores = (
            [s[metric] for s in part if s["filter"] == chosen and metric in s]
            for part in (measured, samples)
        )
        all_single, single = (
            [float(score) for score in part if isinstance(score, int | float)]
            for part in (every, scores)
        )
        more = {"filter": chosen} if chosen != "none" else {}
        details = {
            "items": len(scores),
            "overlap": found.report,
            "higher_is_better": results["higher_is_better"].get(name, {}).get(metric),
        }
        if all_single and abs(sum(all_single) / len(all_single) - value) < 1e-9:
            rows.append(
                context.accuracy(
                    name, single, metric=metric, protocol=protocol | more, details=details
                )
            )
        elif found.dropped:
            reason = f"{found.dropped} items were seen before, and this metric needs all of them"
            rows.append(context.missing(name, metric, reason, protocol=protocol, details=details))
        else:
            # Corpus-level metrics (F1, perplexity) are no mean of their items: nothing to pair.
            rows.append(
                context.figure(
                    name, metric, float(value), protocol=protocol | more, details=details
                )
            )
    return rows


def _ships(task: str) -> bool:
    """Whether lm-eval itself brings the task, so that a name in a folder is not one's own."""
    return task in _stock_manager().all_tasks


def _text_of(doc: Any) -> str:
    """All text of one item, whatever its fields are called."""
    if isinstance(doc, str):
        return doc
    if isinstance(doc, Mapping):
        return "\n".join(_text_of(value) for value in doc.values())
    if isinstance(doc, list | tuple):
        return "\n".join(_text_of(value) for value in doc)
    return ""


def _group_mean(group: str, rows: list[Row], context: RowContext) -> Row:
    wanted = GROUPS[group]
    chosen = {row.name: row for row in rows if row.metric == _AVERAGED and row.name in wanted}
    lacking = [task for task in wanted if task not in chosen or chosen[task].value is None]
    protocol = {"tasks": {task: dict(row.protocol) for task, row in chosen.items()}}
    if lacking:
        reason = f"no figure for {', '.join(lacking)}"
        return context.missing(group, _AVERAGED, reason, protocol=protocol)
    values = [float(chosen[task].value or 0.0) for task in wanted]
    return context.figure(group, _AVERAGED, sum(values) / len(values), protocol=protocol)


@functools.lru_cache(maxsize=1)
def _stock_manager() -> Any:
    # Indexing the thousands of task files that lm-eval ships takes seconds, so it is done once.
    return _task_manager(None)


def _task_manager(folder: str | None, *, defaults: bool = True) -> Any:
    try:
        from lm_eval.tasks import TaskManager
    except ImportError as error:
        raise PrerequisiteError(
            "the suite 'tasks' needs lm-eval, which is not installed; "
            "type: pip install 'autoprune[tasks]'"
        ) from error
    return TaskManager(include_path=folder, include_defaults=defaults)


def _wrap(loaded: LoadedModel, batch: int) -> Any:
    from lm_eval.models.huggingface import HFLM

    # The wrapper sets a padding token, so it gets a tokenizer of its own.
    return HFLM(
        pretrained=loaded.model, tokenizer=copy.deepcopy(loaded.tokenizer), batch_size=batch
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the harness: progress bars go to standard error, notes to its logger."""
    logger = logging.getLogger("lm_eval")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)
