"""Tasks of a study: check the matrix, prepare a model's texts, fill the cells of one subject."""

import json
import logging
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoprune.errors import AutopruneError, UsageError
from tasks.calibrate import cut_windows
from tasks.evaluate import check_suites, suite_rows
from tasks.policies import step
from tasks.prune import prune_model
from tasks.seen import seen_in_windows
from tasks.state import State
from tasks.workbench import Workbench, find_workbench

if TYPE_CHECKING:
    from autoprune.pruning import DenseWeights
    from autoprune.study.cells import Subject

log = logging.getLogger(__name__)

LONGEST_REASON = 400


@dataclass
class StudyBench(Workbench):
    """A workbench that can prune, measure and restore."""

    @cached_property
    def dense(self) -> "DenseWeights":
        """Copy of the prunable weights."""
        from autoprune.pruning import DenseWeights

        return DenseWeights(self.layers)

    def close(self) -> None:
        """Let the copy go too."""
        self.__dict__.pop("dense", None)
        super().close()


@step("check study", "check {name}")
def check_study(
    name: str, models: list[str], schemes: list[str], ratios: list[float], suites: list[str],
    policies: list[str],
) -> dict[str, Any]:  # fmt: skip
    """Read every name of a study before anything heavy happens.

    Returns:
        The suites with all their settings, and the subjects by model.

    Raises:
        UsageError: If a scheme, a suite or a setting is unknown.
    """
    from autoprune.study.cells import matrix

    found = [check_suites.fn(text, {}, None) for text in suites]
    if any(len(entry) != 1 for entry in found):
        raise UsageError(f"each suite of a study stands in a line of its own, not {suites}")
    subjects = [subject.to_json() for subject in matrix(models, schemes, ratios, policies)]
    return {"suites": [entry[0] for entry in found], "subjects": subjects}


@step("study texts", "texts of {model}")
def prepare_texts(
    bench_id: str, model: str, texts: dict[str, str | None], samples: int, seqlen: int
) -> dict[str, Any]:
    """Cut the calibration windows of every policy, before anything is measured.

    Args:
        bench_id: Id of an open study workbench.
        model: Reference of the model, for the task's name.
        texts: Corpus by policy; None where the study names none.
        samples: Windows of each.
        seqlen: Tokens in a window.

    Returns:
        What each text is, or why there is none.
    """
    found: dict[str, Any] = {}
    for policy, corpus in texts.items():
        if corpus is None:
            found[policy] = {
                "reason": f"no own_data is given for {model}, so nothing is aligned to it"
            }
            continue
        try:
            found[policy] = cut_windows.fn(bench_id, policy, corpus, samples, seqlen)
        except AutopruneError as error:
            found[policy] = {"reason": _one_line(error)}
    return found


@step("study subject", "{title}")
def fill_subject(
    bench_id: str,
    title: str,
    folder: str,
    subject: dict[str, Any],
    texts: dict[str, Any],
    suites: list[dict[str, Any]],
    seed: int,
) -> list[dict[str, Any]]:
    """Prune in one way and fill the cells that are not filled yet; dense again afterwards.

    Args:
        bench_id: Id of an open study workbench.
        title: What is measured, for the task's name.
        folder: Where cells are kept, one file each.
        subject: JSON form of the subject.
        texts: What :func:`prepare_texts` returned.
        suites: Name and all settings of each suite.
        seed: Seed of the pruning.

    Returns:
        One entry per suite: digest, status, and why there is no result where there is none.
    """
    from autoprune.study.cells import Subject

    bench = find_workbench(bench_id)
    assert isinstance(bench, StudyBench)
    chosen = Subject(**subject)
    seen = seen_in_windows(bench, [policy for policy in texts if policy in bench.windows])
    text = {**texts.get(chosen.policy, {}), "seed": seed, "dtype": bench.dtype}
    model = bench.loaded.source.digest
    known = seen.digest if seen is not None else ""
    cells: list[dict[str, Any]] = [
        {"suite": suite, "id": _cell_id(chosen, model, text, suite, known)} for suite in suites
    ]
    waiting = [cell for cell in cells if not _file(folder, cell["id"]).is_file()]
    reasons: dict[str, str] = {}
    if waiting:
        try:
            with nullcontext() if chosen.ratio == 0 else bench.dense:
                _prune(bench, chosen, texts, seed)
                for cell in waiting:
                    reasons |= _fill(bench, folder, chosen, cell, seen)
        except Exception as error:
            # Whatever one subject raises, the others are still measured; it is tried again.
            log.info("subject failed", exc_info=True)
            reasons |= {cell["id"]: _one_line(error) for cell in waiting}
    fresh = {cell["id"] for cell in waiting}
    return [
        {
            **subject,
            "suite": cell["suite"]["name"],
            "settings": cell["suite"]["settings"],
            "id": cell["id"],
            "status": "unavailable" if cell["id"] in reasons else "ok",
            "reason": reasons.get(cell["id"], ""),
            "cached": cell["id"] not in fresh,
        }
        for cell in cells
    ]


def _cell_id(
    subject: "Subject", model: str, text: dict[str, Any], suite: dict[str, Any], known: str
) -> str:
    from autoprune.study.cells import cell_digest, versions_of

    versions = versions_of(suite["name"])
    return cell_digest(subject, model, text, with_contents(suite), known, versions)


def _prune(bench: StudyBench, subject: "Subject", texts: dict[str, Any], seed: int) -> None:
    from autoprune.study.cells import NO_POLICY
    from autoprune.study.schemes import parse_scheme

    scheme = parse_scheme(subject.scheme)
    if subject.ratio == 0:
        return
    if scheme.method is None:
        raise UsageError(scheme.reason)
    policy = subject.policy
    method = scheme.method
    statistics = method.statistics
    if policy == NO_POLICY:
        policy = next((name for name in texts if name in bench.windows), "")
        # Its masks follow from the weights alone, and without a text no block can be run.
        statistics = statistics if policy else "dense"
    elif "reason" in texts[policy]:
        raise UsageError(texts[policy]["reason"])
    plan = {
        "sparsity": subject.ratio, "group": method.group, "pattern": "unstructured",
        "allocation": method.allocation, "solver": method.solver, "seed": seed,
    }  # fmt: skip
    # Statistics are of the dense model; the workbench keeps none between subjects.
    bench.dense.restore()
    prune_model.fn(bench.id, method.metric, policy, plan, statistics)


def _fill(
    bench: StudyBench, folder: str, subject: "Subject", cell: dict[str, Any], seen: Any
) -> dict[str, str]:
    """Measure one cell and keep it; why not, where that fails."""
    from autoprune.storage import write_json

    suite = cell["suite"]
    try:
        rows = suite_rows(bench, suite["name"], suite["settings"], seen, "drop")
    except Exception as error:
        log.info("suite failed", exc_info=True)
        return {cell["id"]: _one_line(error)}
    write_json(_file(folder, cell["id"]), {**subject.to_json(), "suite": suite, "rows": rows})
    return {}


def with_contents(suite: dict[str, Any]) -> dict[str, Any]:
    """A suite with the digests of the files that its settings name: their text may change.

    Of a folder the task files in it count; a suite that names no file stays as it is.
    """
    from autoprune.digest import digest_file

    found: dict[str, str] = {}
    for value in suite["settings"].values():
        for name in value if isinstance(value, list | tuple) else [value]:
            path = Path(name).expanduser() if isinstance(name, str) and name else None
            if path is None:
                continue
            files = sorted(path.rglob("*.yaml")) if path.is_dir() else [path]
            found |= {str(file): digest_file(file) for file in files if file.is_file()}
    return {**suite, "files": found} if found else suite


def read_cell(folder: str, cell: str) -> list[dict[str, Any]]:
    """The rows of a kept cell."""
    record: dict[str, Any] = json.loads(_file(folder, cell).read_text(encoding="utf-8"))
    rows: list[dict[str, Any]] = record["rows"]
    return rows


def study_folder(state: State, name: str) -> Path:
    """Where a study keeps its files."""
    return state.root / "studies" / name


def _file(folder: str, cell: str) -> Path:
    return Path(folder) / "cells" / f"{cell}.json"


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())[:LONGEST_REASON]
    return text if isinstance(error, AutopruneError) else f"{type(error).__name__}: {text}"
