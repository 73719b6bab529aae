"""What the record of a run holds besides its search: model, text, machine, times."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from autoprune.names import CHAMPION
from autoprune.plain_text import shell_line
from autoprune.recipe import Recipe
from autoprune.report.benefit import Outcome, Sample
from autoprune.report.data import UNFINISHED, Command, RunReport, SharedText, Split, StageTime
from autoprune.report.gathering import with_search
from autoprune.report.sealed import SealedSet
from autoprune.search.archive import Entry
from autoprune.search.search import Search

ENDINGS = {
    "candidates": "all candidates of the budget were designed",
    "tokens": "the budget of designer tokens was used up",
    "seconds": "the time budget was used up",
    "money": "the money for designer answers was used up",
    "evaluations": "all evaluations of the budget were made",
    "exhausted": "there was nothing left to propose",
    "drift": "the same recipe measured again gave other figures",
    "no_baseline": "no baseline could be measured",
}


def build_report(search: Search, run_id: str, facts: Mapping[str, Any]) -> RunReport:
    """Build the report of everything worth showing about a search so far."""
    spec = search.spec
    report = RunReport(
        run_id=run_id,
        created=facts.get("created", ""),
        model=spec.model,
        corpus=spec.corpus,
        sparsity=spec.size.get("sparsity"),
        goal="" if "sparsity" in spec.size else spec.target.goal,
        dense_perplexity=facts.get("dense_perplexity"),
        entries=(),
        dense_sealed_perplexity=facts.get("dense_sealed_perplexity"),
        model_digest=facts.get("model_digest", ""),
        pattern=spec.pattern,
        designer=facts.get("designer", spec.designer.kind),
        splits=_splits(facts, facts.get("sealed_looks", search.looks)),
        beginning_token=facts.get("beginning_token", ""),
        sealed_set=_sealed_set(facts),
        quantised=facts.get("quantised", ""),
        outcome=_outcome(facts),
        overlap=tuple(SharedText(**pair) for pair in facts.get("overlap", ())),
        machine=facts.get("machine", {}),
        command=facts.get("command", ""),
        stages=tuple(StageTime(name, sec) for name, sec in facts.get("stages", {}).items()),
        ended=_ended(search),
        layer_numel=facts.get("layer_numel", {}),
        next_commands=_next_commands(search, run_id, facts),
    )
    return with_search(report, search)


def _sealed_set(facts: Mapping[str, Any]) -> SealedSet | None:
    known = facts.get("sealed_set")
    return None if known is None else SealedSet(**known)


def _outcome(facts: Mapping[str, Any]) -> Outcome | None:
    known = facts.get("checkpoint", {}).get("outcome")
    if known is None:
        return None
    samples = tuple(Sample(**sample) for sample in known["samples"])
    return Outcome(**{**known, "samples": samples})


def _ended(search: Search) -> str:
    if search.finished is None:
        return UNFINISHED
    ending = ENDINGS[search.finished]
    return f"{ending} ({search.drift})" if search.drift else ending


def build_mask_records(search: Search, run_id: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    """By candidate, everything that determines its masks, and their digest; needs no weights."""
    common = {
        "schema_version": 1,
        "run": run_id,
        "spec": search.spec.to_json(),
        "model_digest": facts.get("model_digest", ""),
        "calibration_digest": facts.get("parts", {}).get("calibration", {}).get("digest", ""),
    }
    return {
        entry.alias: {
            **common,
            "candidate": entry.alias,
            "recipe": _measured(entry, search.spec.proxy).to_json(),
            "mask_digest": entry.measurement.mask_digest,
            **({"budget": dict(found)} if (found := search.budget_of(entry.alias)) else {}),
        }
        for entry in search.entries
        if entry.recipe is not None and entry.measurement is not None
    }


def _measured(entry: Entry, proxy: str) -> Recipe:
    """The recipe behind the entry's masks: before its last rung, with the proxy's repair."""
    assert entry.recipe is not None
    return entry.recipe if entry.whole is not None else replace(entry.recipe, repair=proxy)


def next_command(search: Search, run_id: str, facts: Mapping[str, Any]) -> str:
    """What to type after a search: measure its winner again, or read why there is none."""
    checkpoint = facts.get("checkpoint")
    if checkpoint is None:
        return f"autoprune ls candidates --run {run_id}"
    return _measure_again(search, checkpoint)


def _measure_again(search: Search, checkpoint: Mapping[str, Any]) -> str:
    spec = search.spec
    # On the set that the search has spent: the whole text would spend those of all splits.
    part = ("--part", "sealed", "--text-split", spec.text_split, "--seqlen", spec.seqlen)
    return shell_line("evaluate", checkpoint["out"], "--corpus", spec.corpus, *part)


def _next_commands(search: Search, run_id: str, facts: Mapping[str, Any]) -> tuple[Command, ...]:
    listed = Command("List the candidates", f"autoprune ls candidates --run {run_id}")
    if search.finished is None:
        return (listed, Command("Go on with the search", f"autoprune resume {run_id}"))
    checkpoint = facts.get("checkpoint")
    if checkpoint is None:
        return (listed,)
    again = (listed, Command("Measure the winner again", _measure_again(search, checkpoint)))
    version: Mapping[str, Any] | None = facts.get("registered")
    if version is None or version["uri"].endswith(f"@{CHAMPION}"):
        return again
    asked = ("--name", version["name"], "--version", version["version"])
    promote = shell_line("promote", *asked, "--dry-run")
    return (*again, Command("Ask whether it may become champion", promote))


def _splits(facts: Mapping[str, Any], looks: int) -> tuple[Split, ...]:
    return tuple(
        Split(
            name,
            part["documents"],
            part["tokens"],
            part["digest"],
            looks if name == "sealed" else None,
            part["windows"],
        )
        for name, part in facts.get("parts", {}).items()
    )
