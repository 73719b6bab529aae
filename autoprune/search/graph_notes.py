"""Entries and outcomes as nodes and edges of the reasoning graph.

Judging edges (supports, refutes, improves, duplicates) come from measurements only.
"""

import re
from dataclasses import asdict
from typing import Any

from autoprune.design.graph import ELSEWHERE
from autoprune.digest import digest_json
from autoprune.search.archive import Entry
from autoprune.search.paired import Difference, paired_difference
from autoprune.search.state import Lesson, SearchState
from autoprune.search.steps import Failed, Measurement

TASK = "task"
# Name of the rung between few windows and all of them, in steps and results; logs hold it.
MIDDLE_RUNG = "lap"


def note_task(state: SearchState) -> None:
    """Add the first nodes: the task and the known facts about the model."""
    spec = state.spec
    body = {"model": spec.model, "corpus": spec.corpus, **spec.size}
    state.graph.add(TASK, "task", {**body, "pattern": spec.pattern, "seed": spec.seed})
    for number, text in enumerate(spec.facts, 1):
        state.graph.add(f"F{number}", "observation", {"text": text})
        state.graph.link(f"F{number}", "derives_from", TASK)


def note_proposal(state: SearchState, entry: Entry) -> None:
    """Add hypothesis, mechanism and code of a readable entry, with their origins."""
    graph, alias = state.graph, entry.alias
    if entry.because or entry.prediction:
        claim: dict[str, Any] = {"claim": entry.because}
        if entry.prediction:
            stated = asdict(entry.prediction)
            if not stated["unknown"]:
                # Omitted if no unknown name was given, as in records from before this field.
                del stated["unknown"]
            claim["prediction"] = {"metric": "perplexity", **stated}
        graph.add(f"{alias}.h", "hypothesis", claim)
        graph.link(f"{alias}.h", "derives_from", TASK)
        for parent in entry.parents:
            graph.link(f"{alias}.h", "derives_from", parent)
        if entry.operator == "critique" and entry.parents:
            graph.add(f"{alias}.c", "critique", {"text": entry.because})
            graph.link(f"{alias}.c", "critiques", entry.parents[0])
    recipe = entry.known_recipe
    body: dict[str, Any] = {
        "formula": entry.formula,
        "group": recipe.group,
        "allocation": recipe.allocation,
        "solver": recipe.repair,
        "operator": entry.operator,
        "because": entry.because,
    }
    if recipe.metric.kind == "scheme":
        body["scheme"] = True
    if recipe.metric.kind == "program":
        body["program"] = True
    if entry.model is not None:
        body["model"] = entry.model
    if recipe.metric.is_code:
        body["source"] = recipe.metric.shown
    graph.add(alias, "mechanism", body)
    if f"{alias}.h" in graph.nodes:
        graph.link(alias, "derives_from", f"{alias}.h")
    for parent in entry.parents:
        graph.link(alias, "combines" if entry.operator == "combine" else "derives_from", parent)
    if entry.repaired and entry.repaired in graph.nodes:
        graph.link(alias, "repairs", entry.repaired)
    if recipe.metric.is_code:
        source = {"source": recipe.metric.shown, "digest": recipe.metric.digest}
        graph.add(f"{alias}.code", "code", source)
        graph.link(f"{alias}.code", "implements", alias)


def note_unreadable(state: SearchState, entry: Entry) -> None:
    """Record an answer without a candidate as an observation."""
    body = {"subject": entry.alias, "operator": entry.operator, "because": entry.because}
    state.graph.add(
        entry.alias, "observation", {**body, "code": entry.code, "detail": entry.detail}
    )
    state.graph.link(entry.alias, "derives_from", TASK)


def note_rejection(state: SearchState, entry: Entry) -> None:
    """Add a verdict on a mechanism: a status and a code, never a number."""
    body = {"status": "rejected", "code": entry.code, "detail": entry.detail}
    _add_result(state, entry, "x", body)


def note_unfinished(state: SearchState, entry: Entry, outcome: Failed) -> None:
    """Note that time ran out for a measurement: no result, and no verdict on the recipe."""
    node = f"{entry.alias}.unfinished"
    if node not in state.graph.nodes:
        body = {"subject": entry.alias, "unfinished": outcome.detail}
        state.graph.add(node, "observation", body)
        state.graph.link(node, "derives_from", entry.alias)


def note_duplicate(state: SearchState, entry: Entry) -> None:
    """Note that an entry shares an older one's result."""
    assert entry.duplicate_of is not None
    node = f"{entry.alias}.x"
    state.graph.add(
        node, "result", {"status": "duplicate", "code": f"same as {entry.duplicate_of}"}
    )
    state.graph.link(node, "tests", entry.alias)
    if entry.duplicate_of in state.graph.nodes:
        state.graph.link(entry.alias, "duplicates", entry.duplicate_of)


def note_result(
    state: SearchState, entry: Entry, rung: int | str, measurement: Measurement
) -> None:
    """Add a measurement and what it proves."""
    body: dict[str, Any] = {
        "status": "measured",
        "rung": rung,
        "windows": len(measurement.nll),
        "perplexity": measurement.perplexity,
        "nll_digest": digest_json(list(measurement.nll)),
        "sparsity": measurement.sparsity,
        "mask_digest": measurement.mask_digest,
        "seconds": measurement.seconds,
    }
    if entry.partial and rung not in (2, "sealed"):
        # The recipe was not applied as it is, so this must not be taken for its figure.
        body |= {"left_out": entry.partial} if entry.shortened else {"masks_alone": True}
    if entry.validation is not None and entry.validation.reconstruction_error is not None:
        body["reconstruction_error"] = entry.validation.reconstruction_error
        if entry.validation.errors:
            body["errors"] = dict(entry.validation.errors)
    if rung != "sealed" and entry.change is not None:
        body["change"] = entry.change.perplexity_change
        if entry.change.interval is not None:
            body["interval"] = list(entry.change.interval)
        body["verdict"] = entry.change.verdict
        if state.spec.fitness != "perplexity" and entry.ranked is not None:
            body["ranked_nats"] = entry.ranked.mean
    parents = _against_parents(state, entry) if rung != "sealed" else {}
    if parents:
        body["gain"] = -max(difference.mean for difference in parents.values())
        # An edge drawn on fewer windows may no longer hold.
        body["against"] = {parent: found.verdict for parent, found in parents.items()}
    node = _add_result(state, entry, MIDDLE_RUNG if rung == MIDDLE_RUNG else f"r{rung}", body)
    if rung == "sealed":
        return
    _grade(state, entry, entry, node)
    for parent, difference in parents.items():
        if difference.better:
            state.graph.link(entry.alias, "improves", parent)


def note_unsealed(state: SearchState, entry: Entry, failed: Failed) -> None:
    """Note why an entry that should have a sealed figure has none; it keeps its rank."""
    entry.unsealed = f"{failed.code}: {failed.detail}" if failed.detail else failed.code
    body = {"status": "rejected", "rung": "sealed", "code": failed.code, "detail": failed.detail}
    _add_result(state, entry, "rsealed", body)


def grade_duplicate(state: SearchState, entry: Entry, owner: Entry) -> None:
    """Grade an entry's prediction by the result that it shares.

    A prediction against the recipe it duplicates is wrong: equal is neither better nor worse.
    """
    prediction, graph = entry.prediction, state.graph
    if prediction is None or prediction.versus not in state.archive:
        return
    if prediction.versus == owner.alias:
        graph.link(f"{entry.alias}.x", "refutes", f"{entry.alias}.h")
        return
    known = graph.results(entry.alias)
    node = known[-1].alias
    if any(edge.source == node for edge in graph.judgements(f"{entry.alias}.h")):
        # Edges are never removed, so another verdict, unclear included, needs another result.
        node = _add_result(state, entry, f"x{len(known) + 1}", dict(known[-1].body))
    _grade(state, entry, owner, node)


def _add_result(state: SearchState, entry: Entry, name: str, body: dict[str, Any]) -> str:
    """Add a result of an entry; return the node's alias."""
    node = f"{entry.alias}.{name}"
    state.graph.add(node, "result", body)
    state.graph.link(node, "tests", entry.alias)
    return node


def _against_parents(state: SearchState, entry: Entry) -> dict[str, Difference]:
    """Compare the entry with each parent for which that is possible."""
    pairs = ((name, state.archive.compare(entry, state.archive[name])) for name in entry.parents)
    return {name: difference for name, difference in pairs if difference is not None}


def _grade(state: SearchState, entry: Entry, measured: Entry, node: str) -> None:
    """Compare what was measured with what the entry predicts, which is perplexity."""
    prediction = entry.prediction
    if prediction is None or prediction.versus not in state.archive:
        return
    versus = state.archive[prediction.versus]
    difference = state.archive.compare(measured, versus, fitness="perplexity")
    if difference is not None and difference.verdict != "unclear":
        right = difference.verdict == prediction.direction
        state.graph.link(node, "supports" if right else "refutes", f"{entry.alias}.h")


def note_term(state: SearchState, entry: Entry) -> None:
    """Note the effect of dropping or adding a term, as a fact that prompts can quote."""
    term = state.terms.get(entry.alias)
    if term is None or not entry.parents:
        return
    added = entry.operator == "extend"
    parent = state.archive[entry.parents[0]]
    if entry.duplicate_of in (parent.alias, parent.duplicate_of) and entry.duplicate_of:
        effect, verdict, nats = "the same masks, the term does nothing", "same", 0.0
    else:
        difference = state.archive.compare(entry, parent)
        if difference is None:
            return
        effect, verdict = f"{100 * difference.perplexity_change:+.1f} %", difference.verdict
        nats = difference.mean
    text = f"{parent.formula} {'with' if added else 'without'} {term}: {effect}"
    node = f"{entry.alias}.o"
    # What leaving the term out costs is what the term is worth.
    body: dict[str, Any] = {
        "term": term,
        "added": added,
        "formula": parent.formula,
        "subject": parent.alias,
    }
    body |= {"text": text, "verdict": verdict, "nats": nats}
    state.graph.add(node, "observation", body)
    state.graph.link(node, "derives_from", entry.alias)


def _same_words(first: str, second: str) -> bool:
    """Whether two sentences differ only in case and punctuation; any other word counts."""
    one, other = (re.findall(r"[a-z0-9_]+", text.casefold()) for text in (first, second))
    return one == other


def note_elsewhere(state: SearchState, entry: Entry) -> None:
    """Note the best recipe's effect on perplexity at other sparsities, as a fact."""
    reference = state.reference()
    changes = []
    for share, found in sorted(entry.elsewhere.items()):
        difference = paired_difference(found.nll, reference.elsewhere[share].nll)
        changes.append(f"{100 * difference.perplexity_change:+.1f} % at {100 * share:g} %")
    node = f"{entry.alias}{ELSEWHERE}"
    state.graph.add(node, "observation", {"text": f"{entry.alias}: {', '.join(changes)}"})
    state.graph.link(node, "derives_from", entry.alias)


def note_margins(state: SearchState) -> None:
    """Note how certain the choice of the winner is, before the sealed measurement."""
    winner = state.archive.winner()
    for number, margin in enumerate(state.archive.margins(), 1):
        assert winner is not None
        body: dict[str, Any] = {"subject": winner.alias, "versus": margin.versus}
        body["fitness"], body["difference"] = state.spec.fitness, margin.difference.mean
        if margin.difference.interval is not None:
            body["interval"] = list(margin.difference.interval)
        verdict = body["verdict"] = margin.difference.verdict
        body["text"] = f"{winner.alias} against {margin.versus}: {verdict}"
        node = f"{winner.alias}.margin{number}"
        state.graph.add(node, "observation", body)
        state.graph.link(node, "derives_from", winner.alias)


def note_drift(state: SearchState, fault: str) -> None:
    """Note that a sentinel's figures differ from its first ones."""
    state.graph.add("drift", "observation", {"text": f"measured again, {fault}"})
    state.graph.link("drift", "derives_from", TASK)


def note_draws(state: SearchState, entry: Entry) -> None:
    """Note how much the winner and the reference depend on the draw of calibration text."""
    body: dict[str, Any] = {"subject": entry.alias, "draws": 1 + len(entry.draws)}
    for name, shown in (("perplexities", entry), ("reference", state.reference())):
        found = [shown.results[2], *(m for _, m in sorted(shown.draws.items()))]
        body[name] = [measurement.perplexity for measurement in found]
    state.graph.add(f"{entry.alias}.draws", "observation", body)
    state.graph.link(f"{entry.alias}.draws", "derives_from", entry.alias)


def note_lesson(state: SearchState, text: str, asked: str, better: str, worse: str) -> None:
    """Add a lesson with its evidence; later, only its counters change.

    A lesson that repeats an earlier one, even a retired one, is further evidence for that one.
    """
    graph = state.graph
    same = (node for node in graph.of_kind("lesson") if _same_words(str(node.body["text"]), text))
    known = next(same, None)
    if known is None:
        alias = f"L{len(state.lessons) + 1}"
        state.lessons[alias] = Lesson()
        graph.add(alias, "lesson", {"text": text, "asked": asked})
    else:
        alias = f"{known.alias}.{asked.partition('.')[0]}"
        graph.add(alias, "observation", {"subject": known.alias, "wording": text, "asked": asked})
        graph.link(alias, "derives_from", known.alias)
    for evidence in (better, worse):
        state.graph.link(alias, "derives_from", evidence)
