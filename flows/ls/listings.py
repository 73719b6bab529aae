"""What ``autoprune ls`` prints."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from autoprune.models.reference import known_models
from autoprune.names import HUB_FORM
from autoprune.report.benefit import megabytes
from autoprune.report.canvas import number, percent, short_model
from autoprune.report.data import UNFINISHED
from autoprune.report.leaderboard import leaderboard
from flows import library
from flows.housekeeping.disk import NOT_BEGUN, runs_listing
from flows.search.leaderboard import table
from flows.search.runs import find_run
from flows.terminal.output import pairs, wrapped
from tasks import track
from tasks.ledger_file import ledger_path
from tasks.run_files import RunFiles
from tasks.sealed_looks import sets_on_record
from tasks.state import State

LEADER = "leads so far"
Listing = tuple[dict[str, Any], str]


def listing(what: str, run: str | None) -> Listing:
    """Return a listing as a record and as text."""
    match what:
        case "metrics":
            return _metrics()
        case "allocators":
            return _allocators()
        case "repairs":
            return _repairs()
        case "schemes":
            return _schemes()
        case "suites":
            return _suites()
        case "verifiers":
            return _verifiers()
        case "corpora":
            return _corpora()
        case "models":
            return _models(State.open())
        case "sealed":
            return _sealed(State.open())
        case "runs":
            return _runs(State.open())
        case _:
            return _candidates(State.open(), run)


def _metrics() -> Listing:
    found = [
        {
            "name": name,
            "formula": metric.formula,
            "group": metric.group,
            "needs": sorted(metric.needs),
            "params": dict(metric.params),
            "allowed": {},
            "source": metric.source,
        }
        for name, metric in library.METRICS.items()
    ]
    lines = []
    for item in found:
        what = [item["formula"] or "no formula", f"within {item['group']}", *_facts(item)]
        lines.append((str(item["name"]), "; ".join(map(str, what))))
    return {"metrics": found}, f"{wrapped(*lines)}\n\nnext  autoprune prune MODEL --metric NAME"


def _allocators() -> Listing:
    tries = list(library.auto_grid("auto") or ())
    auto = {
        "name": "auto",
        "summary": f"Measure {len(tries)} on the selection part of the text and take the best; "
        "auto:ramp+sdsa:strength=0.2 measures these and uniform",
        "params": {},
        "allowed": {},
        "needs": sorted(
            frozenset[str]().union(*(library.build_allocator(text).needs for text in tries))
        ),
        "source": "ours",
        "tries": tries,
    }
    follow = "autoprune prune MODEL --allocation NAME"
    return _choices("allocators", library.ALLOCATORS.items(), follow, [auto])


def _repairs() -> Listing:
    return _choices("repairs", library.REPAIRS.items(), "autoprune prune MODEL --repair NAME")


def _schemes() -> Listing:
    return _choices(
        "schemes", library.SCHEMES.items(), "autoprune prune MODEL --scheme NAME --sparsity S"
    )


def _facts(item: Mapping[str, Any]) -> list[str]:
    """Parameters with their defaults and other values, needed statistics, source."""
    parts = []
    for key, value in item["params"].items():
        others = [other for other in item["allowed"].get(key, ()) if other != _written(value)]
        parts.append(f"{key}={_written(value)}" + "".join(f"|{other}" for other in others))
    shown = ", ".join(parts)
    facts = [f"[{shown}]"] if shown else []
    if item["needs"]:
        facts.append(f"needs {', '.join(item['needs'])}")
    return [*facts, item["source"]]


def _suites() -> Listing:
    found: list[dict[str, Any]] = []
    for name, kind in library.SUITES.items():
        known: Any = kind
        entries = dataclasses.fields(known) if dataclasses.is_dataclass(known) else ()
        first = (kind.__doc__ or "").strip().splitlines()[:1]
        settings = {entry.name: _plain(entry.default) for entry in entries if entry.init}
        found.append({"name": name, "summary": "".join(first), "settings": settings})
    lines = []
    for item in found:
        shown = ", ".join(f"{key}={_written(value)}" for key, value in item["settings"].items())
        lines.append((item["name"], f"{item['summary']}  [{shown}]"))
    return {"suites": found}, f"{wrapped(*lines)}\n\nnext  autoprune evaluate MODEL --suite NAME"


def _verifiers() -> Listing:
    found = [
        {"name": name, "summary": (kind.__doc__ or "").partition("\n")[0], "trained": kind.TRAINED}
        for name, kind in library.VERIFIERS.items()
    ]
    lines = [(str(item["name"]), item["summary"]) for item in found]
    text = f"{pairs(*lines)}\n\nnext  autoprune evaluate MODEL --suite steps:verifiers=NAME"
    return {"verifiers": found}, text


def _corpora() -> Listing:
    found = [
        {"name": name, "summary": library.corpus_summary(entry)}
        for name, entry in library.CORPORA.items()
    ]
    lines = [(item["name"], item["summary"]) for item in found]
    lines.append(
        (HUB_FORM, "any data set of the hub; a column of messages goes through the template")
    )
    lines.append(("FILE[#COLUMN]", "a .txt, .json, .jsonl or .parquet file of your own"))
    return {"corpora": found}, f"{pairs(*lines)}\n\nnext  autoprune prune MODEL --corpus NAME"


def _written(value: Any) -> str:
    """A setting as the command line takes it."""
    return "+".join(map(str, value)) if isinstance(value, list) else str(value).lower()


def _choices(
    kind: str, items: Iterable[tuple[str, Any]], follow: str, more: Iterable[dict[str, Any]] = ()
) -> Listing:
    found = [*more]
    for name, choice in items:
        made = choice()
        # A wrapper takes the parameters of what it wraps as well as its own.
        allowed = getattr(made, "inner", made).allowed() | choice.allowed()
        params = {key: _plain(value) for key, value in made.params.items()}
        found.append(
            {
                "name": name,
                "summary": choice.summary(),
                "params": params,
                "allowed": {key: values for key, values in allowed.items() if key in params},
                "needs": sorted(made.needs),
                "source": choice.SOURCE,
            }
        )
    lines = [
        (item["name"], "; ".join([item["summary"].rstrip("."), *_facts(item)])) for item in found
    ]
    return {kind: found}, f"{wrapped(*lines)}\n\nnext  {follow}"


def _plain(value: Any) -> Any:
    """Convert a parameter to JSON; a nested allocator becomes its text."""
    return getattr(value, "text", list(value) if isinstance(value, tuple) else value)


def _models(state: State) -> Listing:
    opens = [{"ref": ref, "what": what} for ref, what in known_models().items()]
    for run in state.run_ids():
        folder = RunFiles.of(state, run).winner
        if (folder / "config.json").is_file():
            opens.append({"ref": str(folder), "what": f"winner of run {run}"})
    registered, fault = _registered(state)
    lines = [(item["ref"], item["what"]) for item in opens]
    for item in registered:
        names = ", ".join(f"{alias} = version {n}" for alias, n in item["aliases"].items())
        lines.append((item["name"], f"registered, {names or 'no alias'}"))
    text = pairs(*lines) if lines else "no model opens without a download here"
    if fault:
        text += f"\n\nnote  registered models are not listed: {fault}"
    return {"models": opens, "registered": registered, "fault": fault}, text


def _registered(state: State) -> tuple[list[dict[str, Any]], str]:
    """The registered models, or none and why."""
    if not state.has_store:
        return [], ""
    # Imports Prefect, which an installation may lack.
    from tasks.mirror import tried

    found, fault = tried(
        state, lambda: track.models.registered_models(track.Tracker(state)), patient=True
    )
    return found or [], fault


def _candidates(state: State, run: str | None) -> Listing:
    # Imports Prefect, which an installation may lack.
    from tasks.report import current_report

    run_id = find_run(state, run)
    files = RunFiles.of(state, run_id)
    report = current_report(files, run_id)
    found = leaderboard(report)
    follow = f"report  {files.page}"
    if report.ended == UNFINISHED:
        follow = f"not finished, the order may change\nnext  autoprune resume {run_id}"
        found = [
            dataclasses.replace(e, verdict=LEADER) if e.verdict == "winner" else e for e in found
        ]
    sealed = "" if report.sealed_set is None else f"{report.sealed_set.facts}\n"
    shown = table(found, report.reference_name)
    rows = [row.to_json() for row in found]
    return {"run": run_id, "candidates": rows}, f"{shown}\n{sealed}{follow}"


def _runs(state: State) -> Listing:
    found = runs_listing(state)
    lines = []
    for item in found:
        what = [item["status"], item["created"][:10]]
        if item["model"]:
            aim = item["goal"] or percent(item["sparsity"], digits=0)
            what.append(f"{short_model(item['model'])} {'with' if item['goal'] else 'at'} {aim}")
        if item["best"] is not None:
            what.append(f"best {item['best']} {number(item['perplexity'])}")
        what += [f"{item['candidates']} candidates", megabytes(item["bytes"])]
        lines.append((item["run"], "; ".join(part for part in what if part)))
    text = pairs(*lines) if lines else "no search was started in this folder"
    # A run that has not begun has no candidates.
    begun = [item["run"] for item in found if item["status"] != NOT_BEGUN]
    follow = f"autoprune ls candidates --run {begun[0]}" if begun else "autoprune search MODEL"
    return {"runs": found}, f"{text}\n\nnext  {follow}"


def _sealed(state: State) -> Listing:
    found = sets_on_record(state)
    lines = []
    for item in found:
        name = "whole text or unknown set" if item["number"] is None else f"set {item['number']}"
        what = [f"{item['corpus'] or 'unknown text'} ({item['digest'][:12]}…)"]
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(item["kinds"].items()))
        what.append(f"{item['looks']} look{'s' if item['looks'] > 1 else ''}: {kinds}")
        if item["last"]:
            what.append(f"last on {item['last'][:10]}")
        lines.append((name, "; ".join(what)))
    text = pairs(*lines) if lines else "nobody has looked at any sealed set"
    path = str(ledger_path())
    after = "next  autoprune evaluate MODEL --part sealed --text-split fresh"
    return {"sealed": found, "ledger": path}, f"{text}\n\nledger  {path}\n{after}"
