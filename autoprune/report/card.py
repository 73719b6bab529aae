"""The model card: README.md in the folder of a pruned model."""

from collections.abc import Mapping
from typing import Any

from autoprune.candidate import Candidate
from autoprune.design.parts import ignores_metric
from autoprune.models.licence import card_header, how_to_open, opener, terms_of
from autoprune.plain_text import in_code, in_fence, in_markdown
from autoprune.program_files import prunes_blocks
from autoprune.recipe import Recipe
from autoprune.report.benefit import rounding, samples_table, sizes, speed
from autoprune.report.canvas import number, percent, short_model
from autoprune.report.data import ReportEntry, RunReport
from autoprune.report.origin import (
    against_start,
    asks_model,
    author,
    authorship,
    best_start,
    citations,
    given,
    was_given,
)
from autoprune.report.sentences import dequantised, interval


def model_card(report: RunReport, record: Mapping[str, Any], licence: str) -> str:
    """Write the model card with the metadata header that model hubs read."""
    name = short_model(report.model).removesuffix(".gguf")
    counted = record["checkpoint"]
    figures = figures_of(report, record)
    parts = [
        card_header(licence, record),
        f"# {name}, {percent(counted['sparsity'], digits=1)} of its linear weights zero",
        f"{in_code(report.model)} with {counted['zeros']:,} of {counted['prunable']:,} prunable "
        f"weights set to zero (recounted in the saved files; {counted['total']:,} parameters in "
        f"all). {_recount(counted)}"
        f"{dequantised(report, 'The weights it was made from are {}, a GGUF file. ')}"
        f"{opener(record)}. {_benefit(report)}",
        how_to_open(record),
        f"## How it was made\n\n{_how(report, record)}",
    ]
    if figures:
        parts.append(f"## Figures\n\n{figures}")
    if report.outcome is not None and report.outcome.samples:
        parts.append(f"## What it writes\n\n{samples_table(report.outcome.samples)}")
    parts += [f"## Data\n\n{_data(report)}", f"## Limits\n\n{_limits(report, counted)}"]
    terms = terms_of(licence)
    parts.append(f"## Licence of the base model\n\n{terms[0].upper()}{terms[1:]}.")
    return "\n\n".join(parts) + "\n"


def found_parts(report: RunReport, record: Mapping[str, Any]) -> list[str]:
    """Paragraphs that a search adds to the card of a smaller model."""
    parts, outcome = [], report.outcome
    if outcome is not None:
        found = sizes(outcome, report.quantised), rounding(outcome)
        parts += [f"{sentence}." for sentence in found if sentence]
    credit = f"{in_markdown(authorship(report))}.\n\n" if authorship(report) else ""
    table = _table(_search_rows(report, record, _entry(report, record)))
    parts.append(f"## How it was found\n\n{credit}{table}")
    if figures := figures_of(report, record):
        parts.append(f"## Figures\n\n{figures}")
    if outcome is not None and outcome.samples:
        parts.append(f"## What it writes\n\n{samples_table(outcome.samples)}")
    return parts


def figures_of(report: RunReport, record: Mapping[str, Any]) -> str:
    """Perplexities of the winner, the reference and the unpruned model; empty without any."""
    entry = _entry(report, record)
    return "" if entry is None else _figures(report, entry)


def _benefit(report: RunReport) -> str:
    """Size before and after, and which runtime gains what."""
    found = [speed(report.pattern)]
    if report.outcome is not None:
        found = [sizes(report.outcome, report.quantised), *found, rounding(report.outcome)]
    return " ".join(f"{sentence}." for sentence in found if sentence)


def _recount(counted: Mapping[str, Any]) -> str:
    note = counted.get("recount")
    return f"{note}. " if note else ""


def _how(report: RunReport, record: Mapping[str, Any]) -> str:
    recipe = record["recipe"]
    metric = recipe["metric"]
    entry = _entry(report, record)
    digested = "new weights" if metric["kind"] == "program" else "masks"
    rows = _search_rows(report, record, entry) | {
        "weights compete by": recipe["group"],
        "budget over the layers": f"`{recipe['allocation']}`",
        "repair": f"`{recipe['solver']}`",
        "pattern": record["pattern"],
        "seed": str(record["seed"]),
        "text split": str(record.get("text_split", record["seed"])),
        f"{digested}, SHA-256": f"`{record['mask_digest']}`",
        "base model, SHA-256": f"`{record['model_digest']}`",
    }
    what = "Weights with the lowest scores of this metric were removed:"
    if metric["kind"] == "program":
        part = "block" if prunes_blocks(metric["source"]) else "layer"
        what = f"This program chose which weights of a {part} went, and moved those that stayed:"
    elif ignores_metric(Recipe.from_json(recipe)):
        what = "The repair chose which weights go; this metric of the recipe had no part in it:"
    credit = f"{in_markdown(authorship(report))}.\n\n" if authorship(report) else ""
    papers = "".join(f"\n- {paper}" for paper in citations(recipe))
    cited = f"\n\nMethods of others in it:\n{papers}" if papers else ""
    source = in_fence(Candidate.from_json(metric).shown)
    return f"{credit}{what}\n\n{source}\n\n{_table(rows)}{cited}"


def _search_rows(
    report: RunReport, record: Mapping[str, Any], entry: ReportEntry | None
) -> dict[str, str]:
    return {
        "search": f"run `{report.run_id}` of {report.created or 'unknown date'}",
        "written by": "not on record" if entry is None else in_markdown(author(report, entry)),
        "given to the search": _given(report),
        "language model asked": in_markdown(report.designer) if asks_model(report) else "none",
        "candidate": f"`{record['candidate']}`",
    }


def _table(rows: Mapping[str, str]) -> str:
    return "\n".join(["|  |  |", "|---|---|", *(f"| {k} | {v} |" for k, v in rows.items())])


def _entry(report: RunReport, record: Mapping[str, Any]) -> ReportEntry | None:
    return next((e for e in report.entries if e.id == record["candidate"]), None)


def _given(report: RunReport) -> str:
    """Repairs that were named and starts that were made by hand."""
    found = given(report)
    repairs = ", ".join(in_code(text).replace("|", "\\|") for text in found["repairs"])
    starts = ", ".join(in_markdown(alias, 60) for alias in found["starts"])
    parts = [f"repairs {repairs}"] if repairs else ["the usual repairs"]
    return "; ".join(parts + ([f"starts {starts}"] if starts else []))


def _figures(report: RunReport, entry: ReportEntry) -> str:
    wanda = report.baseline(report.reference)
    lines = ["| perplexity, lower is better | selection text | sealed text |", "|---|--:|--:|"]
    rows: list[tuple[str, float | None, float | None]] = [
        ("unpruned", report.dense_perplexity, report.dense_sealed_perplexity),
        ("this model", entry.perplexity, entry.sealed_perplexity),
    ]
    if wanda is not None and wanda.id != entry.id:
        name = f"{report.reference_name}, same sparsity"
        rows.append((name, wanda.perplexity, wanda.sealed_perplexity))
    start = best_start(report)
    if start is not None and start != wanda:
        name = in_markdown(start.alias, 60)
        kind = "best start, given" if was_given(report, start) else "best start by hand"
        rows.append((f"{kind}, {name}", start.perplexity, start.sealed_perplexity))
    lines += [f"| {title} | {number(one)} | {number(two)} |" for title, one, two in rows]
    text = "\n".join(lines)
    if entry.change_interval is not None:
        change = percent(entry.change_vs_wanda, sign=True)
        text += f"\n\nAgainst {report.reference_name} on the selection text: {change}, 95 % "
        text += f"{interval(entry)}."
    if against_start(report):
        text += f"\n\n{in_markdown(against_start(report))}"
    if entry.sealed_failure:
        why = in_markdown(entry.sealed_failure, 300)
        text += f"\n\nThis model has no figure on the sealed text: {why}."
    return f"{text}\n\nThe choice was made on the selection text; {_looks(report)}."


def _looks(report: RunReport) -> str:
    """How often the sealed text was measured on, by this search and all others."""
    known = report.sealed_set
    if known is not None:
        return f"the sealed text is {known.facts}"
    uses = next((split.uses for split in report.splits if split.name == "sealed"), None)
    if uses is None:
        return "how often the sealed text was measured on is not known"
    if uses == 1:
        return "the sealed text was measured on once, by this search"
    return f"the sealed text was measured on {uses} times by then, by this search and by other runs"


def _data(report: RunReport) -> str:
    parts = [
        f"- {split.name}: {split.documents} documents, {split.tokens:,} tokens, `{split.digest}`"
        for split in report.splits
    ]
    return "\n".join([f"{in_code(report.corpus)}, split by document:", "", *parts])


def _limits(report: RunReport, counted: Mapping[str, Any]) -> str:
    return (
        f"- Measured on {in_markdown(report.corpus)} only: other text, other languages and other "
        "tasks may suffer more than these figures say.\n"
        f"- {percent(counted['sparsity'], digits=0)} zeros change what a model says; it has not "
        "been checked for safety, bias or facts again.\n"
        "- Whatever the base model must not be used for, this one must not be used for either."
    )
