"""Tasks of a study: check the matrix, prepare a model's texts, fill the cells of one subject."""

import logging
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from autoprune.errors import AutopruneError, UsageError
from tasks.calibrate import cut_windows
from tasks.evaluate import check_suites, suite_rows
from tasks.policies import step
from tasks.prune import prune_model
from tasks.sealed_touches import Looks
from tasks.seen import seen_in_windows
from tasks.study_cells import cell_entry, cell_file, cell_id, has_figure, is_kept, look_of
from tasks.workbench import Workbench, find_workbench

if TYPE_CHECKING:
    from autoprune.study.cells import Subject

log = logging.getLogger(__name__)

LONGEST_REASON = 400


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
        except Exception as error:
            # Whatever one text raises, the others are still calibrated on.
            log.info("text failed", exc_info=True)
            found[policy] = {"reason": _one_line(error)}
    return found


def unavailable_cells(
    subjects: list[dict[str, Any]], suites: list[dict[str, Any]], error: Exception
) -> list[dict[str, Any]]:
    """The cells of a model that cannot be had; nothing is kept, so the same command tries again.

    Args:
        subjects: JSON form of the model's subjects.
        suites: Name and all settings of each suite.
        error: Why not.

    Returns:
        Entries as :func:`fill_subject` returns them.
    """
    from autoprune.study.cells import Subject

    cells = []
    for subject in subjects:
        for suite in suites:
            # The model has no digest, so its reference stands for it.
            cell = cell_id(Subject(**subject), subject["model"], {}, suite, "")
            cells.append(cell_entry(subject, {"suite": suite, "id": cell}, _one_line(error)))
    return cells


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
        One entry per suite: digest, status, why there is no result where there is none, and how
        often each sealed text it looked at was measured on so far.
    """
    from autoprune.study.cells import Subject

    bench = find_workbench(bench_id)
    chosen = Subject(**subject)
    seen = seen_in_windows(bench, [policy for policy in texts if policy in bench.windows])
    text = {**texts.get(chosen.policy, {}), "seed": seed, "dtype": bench.dtype}
    text.pop("notes", None)
    model = bench.loaded.source.digest
    known = seen.digest if seen is not None else ""
    cells: list[dict[str, Any]] = [
        {"suite": suite, "id": cell_id(chosen, model, text, suite, known)} for suite in suites
    ]
    waiting = [cell for cell in cells if not is_kept(folder, cell["id"])]
    reasons: dict[str, str] = {}
    looks = {cell["id"]: Looks(bench.state, look_of(chosen, cell)) for cell in cells}
    if waiting:
        try:
            with nullcontext() if chosen.ratio == 0 else bench.dense:
                _prune(bench, chosen, texts, seed)
                for cell in waiting:
                    reasons |= _fill(bench, folder, chosen, cell, seen, looks[cell["id"]])
        except Exception as error:
            # Whatever one subject raises, the others are still measured; it is tried again.
            log.info("subject failed", exc_info=True)
            reasons |= {cell["id"]: _one_line(error) for cell in waiting}
    fresh = {cell["id"] for cell in waiting}
    return [
        cell_entry(
            subject, cell, reasons.get(cell["id"], ""),
            cached=cell["id"] not in fresh, looks=looks[cell["id"]].counts,
        )
        for cell in cells
    ]  # fmt: skip


def _prune(bench: Workbench, subject: "Subject", texts: dict[str, Any], seed: int) -> None:
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
    bench: Workbench, folder: str, subject: "Subject", cell: dict[str, Any], seen: Any,
    looks: Looks,
) -> dict[str, str]:  # fmt: skip
    """Measure one cell and keep it; why not, where that fails or gives no figure."""
    from autoprune.storage import write_json

    suite = cell["suite"]
    try:
        rows = suite_rows(bench, suite["name"], suite["settings"], seen, "drop", looks)
    except Exception as error:
        log.info("suite failed", exc_info=True)
        return {cell["id"]: _one_line(error)}
    if not has_figure(rows):
        reasons = "; ".join(dict.fromkeys(row["reason"] for row in rows))
        return {cell["id"]: reasons[:LONGEST_REASON] or "the suite measured nothing"}
    write_json(cell_file(folder, cell["id"]), {**subject.to_json(), "suite": suite, "rows": rows})
    return {}


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())[:LONGEST_REASON]
    return text if isinstance(error, AutopruneError) else f"{type(error).__name__}: {text}"
