"""What is wrong with the figures of a document or the records beside it."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from benchmarks.evidence.documents import SENTENCE, Block, Number, blocks_of
from benchmarks.evidence.figures import Figure, figures_of, plain
from benchmarks.evidence.records import EvidenceError, read_record

MARKERS = ("<!-- evidence:", "<!-- no record")


def records_in(root: Path) -> list[str]:
    """Ids of all records under a folder."""
    return sorted(path.name for path in root.iterdir() if path.is_dir()) if root.is_dir() else []


def read_figures(root: Path, ids: Sequence[str]) -> tuple[dict[str, list[Figure]], list[str]]:
    """Figures of records by id, and what is wrong with the others."""
    found: dict[str, list[Figure]] = {}
    faults = []
    for name in ids:
        try:
            found[name] = figures_of(read_record(root / name))
        except EvidenceError as error:
            faults.append(f"evidence/{error}")
    return found, faults


def faults_of(text: str, name: str, figures: Mapping[str, Sequence[Figure]]) -> list[str]:
    """Every number of a document that no record gives.

    Args:
        text: Markdown.
        name: Of the document, for messages.
        figures: Of all records, by id.
    """
    found = []
    for block in blocks_of(text):
        found += [f"{name}:{line}: {what}" for line, what in _faults_of_block(block, figures)]
    return found


def _faults_of_block(
    block: Block, figures: Mapping[str, Sequence[Figure]]
) -> Iterator[tuple[int, str]]:
    first = block.lines[0][0] if block.lines else 0
    unknown = [record for record in block.records if record not in figures]
    for record in unknown:
        known = ", ".join(sorted(figures)) or "none"
        yield first, f"evidence/{record} is not a readable record; there are: {known}"
    named = [figure for record in block.records for figure in figures.get(record, ())]
    settings = {plain(text): text for text in block.settings}
    excuse = block.section.excuse()
    reported = False
    for number in block.numbers():
        if plain(number.text) in settings:
            settings[plain(number.text)] = ""
        elif block.records:
            if not any(figure.stands(number.text, number.row, number.column) for figure in named):
                yield number.line, _no_figure(number, block.records, named)
        elif excuse is None:
            yield (
                number.line,
                f"{number.text} names no record; write <!-- evidence: ID --> before its table or "
                "paragraph, <!-- no record --> under its heading, or, where it is not a result, "
                f"<!-- not measured: {number.text} -->",
            )
        elif not excuse.says_so and not reported:
            reported = True
            yield number.line, f"a section marked as without record does not say that {SENTENCE}"
    for text in filter(None, settings.values()):
        yield first, f"{text} is listed as not measured and does not appear here; take it out"


def _no_figure(number: Number, records: Sequence[str], named: Sequence[Figure]) -> str:
    where = f" in the row {number.row!r}, column {number.column!r}" if number.row else ""
    elsewhere = [figure.name for figure in named if figure.text == plain(number.text)]
    hint = f"; it is {elsewhere[0]}" if elsewhere else ""
    return f"{number.text}{where} is not a figure of evidence/{', evidence/'.join(records)}{hint}"
