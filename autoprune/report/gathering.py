"""Turn a search into its report: entries, reasoning graph, prompts and answers.

Works on a search that is still running too; anything not measured yet is marked as such.
"""

import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from autoprune.design.formulas import expression_of
from autoprune.design.parts import ignores_metric
from autoprune.report.canvas import number
from autoprune.report.data import Point, ReportEdge, ReportEntry, ReportNode, RunReport
from autoprune.report.evidence import DriftCheck, Margin, WinnerChange
from autoprune.report.front import front
from autoprune.report.origin import BEST_START, REFERENCE, author, best_start
from autoprune.report.sentences import rung_text
from autoprune.search.graph_notes import MIDDLE_RUNG
from autoprune.search.paired import paired_difference
from autoprune.search_settings import Verdict

if TYPE_CHECKING:
    from autoprune.design.graph import Graph, GraphNode
    from autoprune.search.archive import Entry, Lead
    from autoprune.search.search import Search
    from autoprune.search.state import Lesson

_RUNG_NAMES = {1: "few windows", MIDDLE_RUNG: "more windows", 2: "all windows"}
_FULL_RUNG = 2
_QUESTION = re.compile(r"g(\d+)\.s(\d+)\.a(\d+)(?:\.tried)?")
# Kinds of nodes that come from a conversation.
_FROM_CONVERSATIONS = ("hypothesis", "mechanism", "observation", "critique", "code", "lesson")
_LABEL_FIELDS = ("claim", "formula", "text", "code", "source", "model")


def with_search(report: RunReport, search: "Search") -> RunReport:
    """``report`` with everything that the search knows."""
    talks = _conversations(search)
    known = {entry.alias: entry for entry in search.entries}
    graph, (correlation, pairs) = search.graph, search.rung_correlation
    layers, masks = search.layer_correlation
    lessons, standings = search.lessons, search.archive.standings()
    found = replace(
        report,
        entries=_ranked([_entry(known[alias], v) for alias, v in standings.items()]),
        margins=tuple(_margin(margin) for margin in search.margins),
        rung_correlation=correlation,
        rung_pairs=pairs,
        layer_correlation=layers,
        layer_pairs=masks,
        forecasts="" if search.forecasts is None else search.forecasts.text,
        checks=tuple(DriftCheck(s.name, s.checks, s.largest) for s in search.sentinels),
        spec=search.spec.to_json(),
        nodes=tuple(_node(n, known, talks, lessons) for n in graph.nodes.values()),
        edges=tuple(
            ReportEdge(graph.nodes[e.source].id, graph.nodes[e.target].id, e.kind)
            for e in graph.edges
            if graph.stands(e)
        ),
    )
    entries = tuple(replace(entry, author=author(found, entry)) for entry in found.entries)
    found = replace(found, entries=entries)
    return replace(found, contrasts=_contrasts(found, search))


def _entry(found: "Entry", verdict: Verdict) -> ReportEntry:
    recipe, measurement, change = found.recipe, found.measurement, found.change
    interval = change.interval if change else None
    expression = expression_of(recipe.metric) if recipe else None
    code, detail = _reason(found, verdict)
    return ReportEntry(
        id=found.alias,
        alias=found.alias,
        kind="baseline" if found.is_baseline else "candidate",
        formula=found.formula,
        order=found.order,
        verdict=verdict,
        latex=expression.to_latex() if expression else "",
        source=recipe.metric.shown if recipe else "",
        language=recipe.metric.kind if recipe else "expression",
        group=recipe.group if recipe else "",
        allocation=recipe.allocation if recipe else "",
        solver=_repair(found),
        metric_counts=bool(found.left_out) or recipe is None or not ignores_metric(recipe),
        operator=found.operator,
        model=found.model or "",
        parents=found.parents,
        reasoning=found.because,
        prediction=found.prediction.text if found.prediction else "",
        perplexity=measurement.perplexity if measurement else None,
        rungs={
            _RUNG_NAMES.get(rung, str(rung)): item.perplexity
            for rung, item in sorted(found.results.items())
        },
        masks_alone=_RUNG_NAMES[1] if found.partial and 1 in found.results else "",
        left_out=found.partial,
        change_vs_wanda=change.perplexity_change if change else None,
        change_interval=(math.expm1(interval[0]), math.expm1(interval[1])) if interval else None,
        sparsity=measurement.sparsity if measurement else None,
        layer_sparsity=dict(measurement.layer_sparsity) if measurement else {},
        curve=tuple(Point(share, m.perplexity) for share, m in sorted(found.elsewhere.items())),
        draws=_draws(found),
        kl=sum(measurement.kl) / len(measurement.kl) if measurement and measurement.kl else None,
        sealed_perplexity=found.sealed.perplexity if found.sealed else None,
        sealed_failure=found.unsealed,
        code=code,
        detail=detail,
        seconds=found.seconds,
        tokens=found.tokens,
    )


def _draws(found: "Entry") -> tuple[float, ...]:
    drawn = [measurement for _, measurement in sorted(found.draws.items())]
    return tuple(m.perplexity for m in (found.results[_FULL_RUNG], *drawn)) if drawn else ()


def _margin(margin: "Lead") -> Margin:
    return Margin(margin.versus, margin.difference.mean, margin.difference.interval)


def _contrasts(report: RunReport, search: "Search") -> tuple[WinnerChange, ...]:
    """The winner's perplexity against the best start and the reference, window by window."""
    archive, winner, start = search.archive, report.winner, best_start(report)
    reference = archive.reference_entry()
    if winner is None or reference is None:
        return ()
    own = archive[winner.id]
    rivals = {BEST_START: start.id} if start is not None else {}
    rivals |= {REFERENCE: reference.alias} if reference is not own else {}
    found = []
    for role, other in ((role, archive[alias]) for role, alias in rivals.items()):
        both = {"selection": archive.compare(own, other, fitness="perplexity")}
        if own.sealed is not None and other.sealed is not None:
            both["sealed"] = paired_difference(own.sealed.nll, other.sealed.nll)
        for split, difference in both.items():
            if difference is not None:
                found.append(
                    WinnerChange(
                        other.alias,
                        role,
                        split,
                        difference.windows,
                        difference.perplexity_change,
                        difference.perplexity_interval,
                    )
                )
    return tuple(found)


def _repair(found: "Entry") -> str:
    """The recipe's repair; figures of masks alone must not pass for its result."""
    text = found.recipe.repair if found.recipe else "none"
    return f"{text}, not applied" if found.left_out and found.proxied else text


def _reason(found: "Entry", verdict: Verdict) -> tuple[str, str]:
    """Rejection code and detail."""
    if found.status == "duplicate":
        return "duplicate", f"same as {found.duplicate_of}"
    if found.status == "rejected":
        return found.code or "rejected", found.detail
    return "", "" if verdict == "winner" else found.detail


def _ranked(entries: list[ReportEntry]) -> tuple[ReportEntry, ...]:
    """Ranks count only entries measured on the same windows, in the order of the search."""
    order = (entry for entry in entries if entry.measured)
    places = {entry.id: place for place, entry in enumerate(order, 1)}
    best = {entry.id for entry in front(entries)}
    return tuple(
        replace(entry, rank=places.get(entry.id), front=entry.id in best) for entry in entries
    )


def _node(
    node: "GraphNode",
    known: Mapping[str, "Entry"],
    talks: Mapping[str, Mapping[str, Any]],
    lessons: Mapping[str, "Lesson"],
) -> ReportNode:
    owner = node.alias if node.alias in known else node.alias.rpartition(".")[0]
    entry = known.get(owner)
    body = dict(node.body)
    cost: dict[str, float] = {}
    if "seconds" in body:
        cost["seconds"] = body.pop("seconds")
    if node.alias in lessons:
        lesson = lessons[node.alias]
        tally = {"helped": lesson.helpful, "hurt": lesson.harmful, "retired": lesson.retired}
        body |= tally
    if node.kind in _FROM_CONVERSATIONS:
        # A lesson belongs to no entry; its conversation has its own name.
        body |= talks.get(owner if entry else node.alias, {})
    if node.alias == owner and entry is not None and entry.tokens:
        cost |= {"tokens": entry.tokens, "seconds": entry.seconds}
    return ReportNode(
        node.id, node.kind, _label(node, entry), node.alias, owner if entry else "", body, cost
    )


def _label(node: "GraphNode", entry: "Entry | None") -> str:
    body = node.body
    if node.kind == "result" and "perplexity" in body:
        rung = body.get("rung", "")
        left_out = entry.partial if rung == 1 and entry is not None else ""
        name = rung_text(_RUNG_NAMES.get(rung, str(rung)), left_out)
        return f"{number(body['perplexity'])}, {name}"
    found = (str(body[name]) for name in _LABEL_FIELDS if body.get(name))
    return next(found, node.kind).strip()


def askers(search: "Search", history: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Candidate by the step that asked for it; repairs of a slot are its next candidates."""
    slots: dict[tuple[int, int], list[str]] = defaultdict(list)
    for entry in sorted(search.entries, key=lambda entry: entry.order):
        if not entry.is_baseline:
            slots[entry.generation, entry.slot].append(entry.alias)
    found: dict[str, str] = {}
    for event in history:
        step = event["step"]
        place = _QUESTION.fullmatch(step["step_id"]) if step["kind"] == "Propose" else None
        if place is None:
            continue
        generation, slot, attempt = (int(group) for group in place.groups())
        names = slots[generation, slot]
        if attempt < len(names):
            found[step["step_id"]] = names[attempt]
    return found


def _conversations(search: "Search") -> dict[str, dict[str, Any]]:
    """Prompt and answer by alias of the entry, or of the lesson."""
    history = search.history()
    names = askers(search, history) | _lessons(search.graph)
    talks: dict[str, dict[str, Any]] = {}
    for event in history:
        step, outcome = event["step"], event["outcome"]
        if step["step_id"] in names:
            messages = step["request"]["messages"]
            prompt = "\n\n".join(f"[{m['role']}]\n{m['content']}" for m in messages)
            answer = outcome.get("text", outcome.get("detail", ""))
            talks[names[step["step_id"]]] = {"prompt": prompt, "answer": answer}
    return talks


def _lessons(graph: "Graph") -> dict[str, str]:
    """Alias of the lesson, or of its repetition, by the step that asked for it."""
    asked = (node for node in graph.nodes.values() if "asked" in node.body)
    return {str(node.body["asked"]): node.alias for node in asked}
