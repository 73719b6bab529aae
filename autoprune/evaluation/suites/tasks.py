"""Suite ``tasks``: stock lm-eval with the model object, offline with local task files."""

import contextlib
import copy
import difflib
import functools
import io
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from autoprune.errors import PrerequisiteError, UnknownNameError, UsageError, reason_of
from autoprune.evaluation.finite import NotFiniteError, finite_logits
from autoprune.evaluation.suites.cleaning import NO_RESOURCES, Resources
from autoprune.evaluation.suites.provenance import model_protocol, model_provenance
from autoprune.evaluation.suites.rows import PASSING, Row, RowContext
from autoprune.evaluation.suites.suite import SUITES
from autoprune.evaluation.suites.task_names import GROUPS, MEANS, UNAVAILABLE
from autoprune.evaluation.suites.task_rows import AVERAGED, group_mean, rows_of
from autoprune.models.loading import LoadedModel
from autoprune.numerics import package_version
from autoprune.progress import Progress, Report, silent


@SUITES.register("tasks")
@dataclass(frozen=True)
class TasksSuite:
    """Every metric of every task, and the mean of each group, ours or lm-eval's.

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
            raise UsageError(f"{self.folder!r} is not a folder; pass one with lm-eval task files")

    def check(self, loaded: LoadedModel, *, resources: Resources = NO_RESOURCES) -> None:
        """Look every name up; see :class:`autoprune.evaluation.suites.suite.Suite`."""
        with _quiet():
            self._task_names(self._manager())

    def computed_with(self) -> dict[str, Any]:
        """See :func:`autoprune.evaluation.suites.suite.computed_with`."""
        return {"lm_eval": package_version("lm_eval")}

    def run(
        self, loaded: LoadedModel, *, report: Report = silent, resources: Resources = NO_RESOURCES
    ) -> list[Row]:
        """Measure; see :class:`autoprune.evaluation.suites.suite.Suite`."""
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
            model = _wrap(loaded, self.batch)
            rows: list[Row] = []
            for number, task in enumerate(wanted, 1):
                reason = self._refusal(task, manager)
                if reason:
                    rows.append(context.missing(task, AVERAGED, reason))
                else:
                    rows += self._measure(task, model, manager, context, resources)
                report(Progress(self.name, number, len(wanted), task))
        return rows + [group_mean(name, rows, context) for name in self.names if name in MEANS]

    def _manager(self) -> Any:
        names = {task for name in self.names for task in GROUPS.get(name, (name,))}
        if self.folder is None:
            return _stock_manager()
        local = _task_manager(self.folder, defaults=False)
        return local if names <= set(local.all_tasks) else _joined(local)

    def _task_names(self, manager: Any) -> list[str]:
        names = [task for name in self.names for task in GROUPS.get(name, (name,))]
        for name in names:
            known = name in manager.all_tasks or name in UNAVAILABLE
            if not known and not Path(name).is_file():
                near = difflib.get_close_matches(name, manager.all_tasks, n=8, cutoff=0.5)
                raise UnknownNameError("task", name, {*near, *GROUPS})
        return list(dict.fromkeys(names))

    def _refusal(self, task: str, manager: Any) -> str:
        """Why a known task cannot be measured; empty if it can be."""
        local = self.folder is not None and task in manager.all_tasks
        if task not in UNAVAILABLE or (local and not _ships(task)):
            return ""
        return UNAVAILABLE[task].format(version=version("lm_eval"))

    def _measure(
        self, task: str, model: Any, manager: Any, context: RowContext, resources: Resources
    ) -> list[Row]:
        from lm_eval import evaluate

        try:
            found = manager.load([task])
            for entry in found["tasks"].values():
                own = entry.get_config("num_fewshot")
                fixed = own == 0 or self.shots is None
                entry.set_config(key="num_fewshot", value=(own or 0) if fixed else self.shots)
                entry.set_fewshot_seed(seed=self.seed)
            with finite_logits(model.model):
                results = evaluate(model, found, limit=self.limit, bootstrap_iters=0)
        except NotFiniteError as error:
            return [context.missing(task, AVERAGED, str(error), status="not_finite")]
        except Exception as error:
            # Whatever a task file or its data set raises, the other tasks are still measured.
            reason = reason_of(error, named=True)
            return [context.missing(task, AVERAGED, reason, details={PASSING: True})]
        return rows_of(results, found["groups"], context, resources)


def _ships(task: str) -> bool:
    """Whether lm-eval itself ships the task, which a name found in a folder does not rule out."""
    return task in _stock_manager().all_tasks


@functools.lru_cache(maxsize=1)
def _stock_manager() -> Any:
    # Indexing the thousands of task files that lm-eval ships takes seconds, so it is done once.
    return _task_manager(None)


def _joined(local: Any) -> Any:
    """lm-eval's own tasks and those of a folder, which go first, without indexing again."""
    both = copy.copy(_stock_manager())
    both._index = {**both.task_index, **local.task_index}
    both._all_tasks = sorted(both.task_index)
    return both


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
