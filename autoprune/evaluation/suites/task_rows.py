"""Rows of what lm-eval measured: one per metric of a task, and one per figure of a group."""

from collections.abc import Mapping, Sequence
from typing import Any

from autoprune.digest import digest_json
from autoprune.evaluation.suites.cleaning import Resources, clean
from autoprune.evaluation.suites.rows import Row, RowContext
from autoprune.evaluation.suites.task_names import GROUPS
from autoprune.text.hygiene import ContaminationError

# What the pruning papers average: plain accuracy, not the length-normalised one.
AVERAGED = "acc"
_NOT_METRICS = ("alias", "name", "sample_len", "sample_count")
_NO_FILTER = "none"
# Tolerance for sums of the same numbers in another order.
_SAME = 1e-9


def rows_of(
    results: Mapping[str, Any],
    groups: Mapping[str, Any],
    context: RowContext,
    resources: Resources,
) -> list[Row]:
    """Rows of all tasks of one run, and of the lm-eval groups they belong to."""
    # The results also list groups, with figures over all their items, including dropped ones.
    rows = [
        row
        for name in results["results"]
        if name not in groups
        for row in _task_rows(name, results, context, resources)
    ]
    return rows + [
        row for group in groups.values() for row in _group_rows(group, results, rows, context)
    ]


def group_mean(group: str, rows: Sequence[Row], context: RowContext) -> Row:
    """Mean accuracy of one of our groups; tasks have equal weight, whatever their item counts."""
    wanted = GROUPS[group]
    chosen = {row.name: row for row in rows if row.metric == AVERAGED and row.name in wanted}
    return _mean_row(group, AVERAGED, [chosen.get(task, task) for task in wanted], context)


def _task_rows(
    name: str, results: Mapping[str, Any], context: RowContext, resources: Resources
) -> list[Row]:
    measured = results["samples"].get(name, [])
    # One sample per document and filter; a document is checked and counted once.
    documents = {sample["doc_id"]: sample["doc"] for sample in measured}
    texts = [_text_of(document) for document in documents.values()]
    try:
        found = clean(texts, resources, what=f"the task {name!r}", items=True)
    except ContaminationError as error:
        if resources.overlap == "refuse":
            raise
        # Nothing is left of this task; the other tasks are still measured.
        return [context.missing(name, AVERAGED, str(error))]
    numbers = list(documents)
    kept = {numbers[index] for index in found.kept}
    samples = [sample for sample in measured if sample["doc_id"] in kept]
    protocol = {
        "shots": results["n-shot"].get(name), "task_version": results["versions"].get(name),
        "data": digest_json([[s["doc_hash"], s["prompt_hash"], s["target_hash"]] for s in samples]),
    }  # fmt: skip
    rows = []
    for metric, chosen, value in _figures(results["results"][name]):
        every, scores = (
            [s[metric] for s in part if s["filter"] == chosen and metric in s]
            for part in (measured, samples)
        )
        all_single, single = (
            [float(score) for score in part if isinstance(score, int | float)]
            for part in (every, scores)
        )
        shown = protocol | _filter(chosen)
        details = {
            "items": len(scores),
            "overlap": found.report,
            "higher_is_better": results["higher_is_better"].get(name, {}).get(metric),
        }
        if all_single and abs(sum(all_single) / len(all_single) - value) < _SAME:
            rows.append(
                context.accuracy(name, single, metric=metric, protocol=shown, details=details)
            )
        elif found.dropped:
            reason = f"{found.dropped} items were seen before, and this metric needs all of them"
            rows.append(context.missing(name, metric, reason, protocol=shown, details=details))
        else:
            # Corpus-level metrics (F1, perplexity) are not means of their items: nothing to pair.
            rows.append(context.figure(name, metric, value, protocol=shown, details=details))
    return rows


def _group_rows(
    group: Any, results: Mapping[str, Any], rows: Sequence[Row], context: RowContext
) -> list[Row]:
    """The metrics that lm-eval aggregates in a group, from the items that are left."""
    by_size = {entry.metric: entry.weight_by_size for entry in group.aggregate_metric_list or ()}
    leaves = {task.task_name for task in group.get_all_tasks()}
    known = {(row.name, row.metric, row.protocol.get("filter")): row for row in rows}
    found = []
    for metric, chosen, _ in _figures(results["results"].get(group.name, {})):
        filtered = _filter(chosen)
        # A task whose items were all seen has no row of this metric; its name stands in for it.
        parts: list[Row | str] = [
            known.get((name, metric, filtered.get("filter")), name)
            for name, figures in results["results"].items()
            if name in leaves and f"{metric},{chosen}" in figures
        ]
        found.append(
            _mean_row(
                group.name, metric, parts, context,
                filtered=filtered, by_size=by_size.get(metric, True),
            )
        )  # fmt: skip
    return found


def _mean_row(
    name: str,
    metric: str,
    parts: Sequence[Row | str],
    context: RowContext,
    *,
    filtered: Mapping[str, str] | None = None,
    by_size: bool = False,
) -> Row:
    """Mean over tasks, or over all their items; a part is a task's name if it has no row."""
    rows = [part for part in parts if isinstance(part, Row)]
    # The full protocols of the tasks are in their own rows.
    parted = digest_json({row.name: dict(row.protocol) for row in rows})
    protocol = {"tasks": len(parts), "tasks_digest": parted, **(filtered or {})}
    lacking = [part for part in parts if isinstance(part, str) or part.value is None]
    if lacking:
        names = ", ".join(part if isinstance(part, str) else part.name for part in lacking)
        broken = any(row.status == "not_finite" for row in rows)
        status: Any = "not_finite" if broken else "unavailable"
        reason = f"no figure for {names}"
        return context.missing(name, metric, reason, status=status, protocol=protocol)
    sizes = [len(row.items) for row in rows]
    if sizes and all(sizes):
        scores = [score for row in rows for score in row.items]
        strata = () if by_size else sizes
        return context.accuracy(name, scores, metric=metric, strata=strata, protocol=protocol)
    weights = [int(row.details["items"]) if by_size else 1 for row in rows]
    total = sum(weight * (row.value or 0.0) for weight, row in zip(weights, rows, strict=True))
    return context.figure(name, metric, total / max(1, sum(weights)), protocol=protocol)


def _figures(figures: Mapping[str, Any]) -> list[tuple[str, str, float]]:
    """Metric, filter and value of every figure in lm-eval's results."""
    found = []
    for key, value in figures.items():
        metric, _, chosen = key.partition(",")
        if metric in _NOT_METRICS or metric.endswith("_stderr"):
            continue
        if isinstance(value, int | float):
            found.append((metric, chosen, float(value)))
    return found


def _filter(chosen: str) -> dict[str, str]:
    return {"filter": chosen} if chosen not in (_NO_FILTER, "") else {}


def _text_of(doc: Any) -> str:
    """All text of one item, whatever its fields are called."""
    if isinstance(doc, str):
        return doc
    if isinstance(doc, Mapping):
        return "\n".join(_text_of(value) for value in doc.values())
    if isinstance(doc, list | tuple):
        return "\n".join(_text_of(value) for value in doc)
    return ""
