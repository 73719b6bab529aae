"""The figures of a record: a small declarative list, recomputed from the raw losses."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.evidence.derivations import DERIVATIONS
from benchmarks.evidence.records import DENSE, EvidenceError, Record, read_json

FILE = "figures.json"
RELATIVE = 1e-6
# Derivations that the dense model has too.
OF_DENSE = ("perplexity", "selection", "measure")
NUMBER = re.compile(r"[+-]?\d[\d,]*(?:\.(\d+))?(e[+-]?\d+)?")


@dataclass(frozen=True)
class Figure:
    """A number that a document may print.

    Args:
        name: What it is.
        text: As it is printed, without sign of plus or percent.
        rows: First cells of the table rows that it belongs to; empty: any place.
        columns: Heads of the columns that it belongs to; empty: any.
    """

    name: str
    text: str
    rows: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()

    def stands(self, text: str, row: str | None, column: str | None) -> bool:
        """Whether a number in a document is this figure; text without a table has no row."""
        right_row = row is None or not self.rows or label(row) in map(label, self.rows)
        right_column = (
            column is None or not self.columns or label(column) in map(label, self.columns)
        )
        return plain(text) == self.text and right_row and right_column


def plain(text: str) -> str:
    """A number without plus, percent and commas, with a minus that programs know."""
    return text.replace("−", "-").replace(",", "").rstrip("% ").removeprefix("+")


def label(text: str) -> str:
    """A table's label without its markup."""
    return " ".join(re.sub(r"[*`†_]", "", text).split()).casefold()


def figures_of(record: Record) -> list[Figure]:
    """All figures that a record's list declares.

    Raises:
        EvidenceError: If a value is not what the raw losses give, a text is not the value, or an
            entry makes no sense.
    """
    declared = read_json(record.folder / FILE)
    labels: Mapping[str, list[str]] = declared.get("labels", {})
    found = [_single(record, entry, labels) for entry in declared.get("figures", ())]
    for table in declared.get("tables", ()):
        found.extend(_table(record, table, labels))
    return found


def _single(record: Record, entry: Mapping[str, Any], labels: Mapping[str, list[str]]) -> Figure:
    where = f"{record.folder.name}/{FILE}: {entry.get('name', entry)!r}"
    value = _derived(record, entry["derivation"], entry.get("of", {}), where)
    if not math.isclose(value, entry["value"], rel_tol=RELATIVE, abs_tol=1e-9):
        raise EvidenceError(f"{where} is {entry['value']!r}; the record gives {value!r}")
    text = plain(str(entry["text"]))
    match = NUMBER.fullmatch(text)
    if match is None:
        raise EvidenceError(f"{where}: the text {entry['text']!r} is not a number")
    decimals = len(match[1] or "")
    expected = rounded(value, decimals, exponent=match[2] is not None)
    if text != expected:
        raise EvidenceError(f"{where} is printed as {text}; {value!r} is {expected}")
    rows = tuple(entry.get("rows", ()))
    return Figure(entry["name"], text, rows, tuple(entry.get("columns", ())))


def _table(
    record: Record, table: Mapping[str, Any], labels: Mapping[str, list[str]]
) -> Iterator[Figure]:
    """One figure for each method and budget of the record."""
    kind, where = table["derivation"], f"{record.folder.name}/{FILE}: table of {table}"
    for method, budget in record.losses:
        if method == table.get("against") or budget not in table.get("budgets", [budget]):
            continue
        if method == DENSE and kind not in OF_DENSE:
            continue
        of = {**table, "method": method, "budget": budget}
        try:
            value = _derived(record, kind, of, where)
        except EvidenceError:
            continue  # such as a deviation of one draw
        if not math.isfinite(value):
            continue
        texts = {rounded(value, int(table.get("decimals", 2)))}
        if abs(value) >= 1000:
            texts.add(rounded(value, 0))
        columns = (str(table["column"]),) if "column" in table else ((budget,) if budget else ())
        rows = (method, *labels.get(method, ()))
        for text in sorted(texts):
            yield Figure(f"{kind} of {method} at {budget}", text, rows, columns)


def _derived(record: Record, kind: str, of: Mapping[str, Any], where: str) -> float:
    if kind not in DERIVATIONS:
        raise EvidenceError(
            f"{where}: unknown derivation {kind!r}; known: {', '.join(DERIVATIONS)}"
        )
    try:
        return DERIVATIONS[kind](record, of)
    except (KeyError, IndexError) as error:
        raise EvidenceError(f"{where}: the derivation {kind!r} lacks {error}") from error


def rounded(value: float, decimals: int, *, exponent: bool = False) -> str:
    """A value as documents print it."""
    text = f"{value:.{decimals}e}" if exponent else f"{value:.{decimals}f}"
    return text.removeprefix("-") if not float(text) else text
