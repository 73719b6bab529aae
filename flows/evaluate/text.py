"""An evaluation as text for people: figures, their intervals, and the protocol of each."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from autoprune.plain_text import shell_line
from autoprune.report.sealed import SealedSet

WIDTH = 100
_DIGEST = 64
Key = tuple[str, str, str, str | None]


def evaluation_text(record: Mapping[str, Any]) -> str:
    """Format every figure with its protocol, the comparison, and the notes."""
    compared = {key_of(entry, entry): entry for entry in record["comparison"]}
    blocks = [_block(rows, compared) for rows in by_protocol(record["rows"])]
    lines = ["\n\n".join(blocks)]
    notes = list(record["notes"])
    whole = {
        row["details"].get("text") for row in record["rows"] if row["protocol"].get("part") == "all"
    }
    sets = {text: SealedSet(**known) for text, known in record["sealed_sets"].items()}
    notes += [known.facts for known in sets.values()]
    for text, times in record["sealed_touches"].items():
        if text in sets:
            continue
        what = (
            f"the text {text[:12]}…, part of it sealed,"
            if text in whole
            else (f"the sealed text {text[:12]}…")
        )
        notes.append(f"{what} was measured on {times} times so far")
    if record["refusal"]:
        notes.append(f"not compared: {record['refusal']}")
    if record["against"] is not None:
        # The distance to the dense model is itself a comparison.
        lone = [
            row
            for row in record["rows"]
            if key_of(row, row["protocol"]) not in compared and row["metric"] != "kl_to_dense"
        ]
        # If nothing at all was compared, the refusal above says why.
        if lone and (record["comparison"] or not record["refusal"]):
            names = ", ".join(dict.fromkeys(f"{r['suite']} {r['name']}" for r in lone))
            notes.append(f"nothing to compare with for {names}")
    judged = [entry for entry in record["comparison"] if entry["metric"] != "bits_per_byte"]
    if len(judged) > 1:
        notes.append(f"{len(judged)} figures were compared, each at 95 % by itself")
    for note in notes:
        lines += textwrap.wrap(f"note  {note}", WIDTH, subsequent_indent="      ")
    lines.append(f"saved {record['folder']}")
    if record.get("card"):
        lines.append(f"card  {record['card']}")
    lines.append(_next(record))
    return "\n".join(lines)


def protocol_text(row: Mapping[str, Any]) -> str:
    """Format the protocol of a row on one line, with shortened digests."""
    points = (f"{key} {_short(value)}" for key, value in row["protocol"].items())
    return f"{row['suite']}: {', '.join(points)}"


def figure_text(row: Mapping[str, Any]) -> str:
    """Format value, interval and unit, or why there is no figure."""
    if row["value"] is None:
        return f"{row['status'].replace('_', ' ')}: {row['reason']}"
    text = number(row["value"])
    if row["interval"]:
        text += f" [{number(row['interval'][0])}, {number(row['interval'][1])}]"
    return f"{text} {row['unit']}".strip()


def number(value: float) -> str:
    """Format with four digits, without an exponent for counts."""
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{value:,.0f}"
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


def by_protocol(rows: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """Group consecutive rows that share a protocol."""
    groups: list[list[Mapping[str, Any]]] = []
    for row in rows:
        if groups and _same(groups[-1][-1], row):
            groups[-1].append(row)
        else:
            groups.append([row])
    return groups


def _same(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    return bool(first["suite"] == second["suite"] and first["protocol"] == second["protocol"])


def _block(
    rows: Sequence[Mapping[str, Any]],
    compared: Mapping[Key, Mapping[str, Any]],
) -> str:
    widths = [max(len(str(row[key])) for row in rows) for key in ("metric", "name")]
    lines = []
    for row in rows:
        shown = f"{row['metric']:<{widths[0]}}  {row['name']:<{widths[1]}}  {figure_text(row)}"
        other = compared.get(key_of(row, row["protocol"]))
        if other is not None:
            shown += f"; {difference(other)}"
        lines += textwrap.wrap(shown, WIDTH, subsequent_indent="    ", break_on_hyphens=False)
        if row["details"].get("verdict"):
            verdict = str(row["details"]["verdict"])
            lines += textwrap.wrap(verdict, WIDTH, initial_indent="    ", subsequent_indent="    ")
    protocol = protocol_text(rows[-1])
    return "\n".join(
        lines
        + textwrap.wrap(
            protocol,
            WIDTH,
            initial_indent="    ",
            subsequent_indent="    ",
            break_on_hyphens=False,
        )
    )


def difference(found: Mapping[str, Any]) -> str:
    """Format the other model's figure and how this one compares, or why it does not."""
    if found["refused"]:
        return "not compared"
    if found["other"] is None or found["value"] is None:
        return "no figure to compare"
    text = f"was {number(found['other'])}"
    paired, runs = found["paired"], found["runs"]
    if runs is not None:
        return f"{text}, {_runs(runs)}"
    if paired is None and found["reason"]:
        return f"{text}, not compared: {found['reason']}"
    if paired is None:
        return text + (f", {found['value'] / found['other']:.3g} times" if found["other"] else "")
    if paired["ratio"] is not None:
        text += f", {paired['ratio']:.3g} times"
    else:
        text += f", {paired['difference']:+.3g}"
    sure = "distinguishable" if paired["distinguishable"] else "not distinguishable"
    return f"{text}, {sure} over {paired['items']} pairs"


def _runs(found: Mapping[str, Any]) -> str:
    text = f"{found['ratio']:.3g} times"
    if found["interval"]:
        text += f" [{found['interval'][0]:.3g}, {found['interval'][1]:.3g}]"
    sure = "distinguishable" if found["distinguishable"] else "not distinguishable"
    return f"{text}, {sure}, {found['runs'][0]} and {found['runs'][1]} runs that do not pair"


def key_of(entry: Mapping[str, Any], protocol: Mapping[str, Any]) -> Key:
    """Identity of a figure, by which it finds its comparison."""
    return entry["suite"], entry["name"], entry["metric"], protocol.get("filter")


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} {_short(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return " ".join(_short(item) for item in value)
    text = str(value)
    return f"{text[:12]}…" if len(text) == _DIGEST and " " not in text else text


def _next(record: Mapping[str, Any]) -> str:
    suites: tuple[str, ...] = ("cost",)
    if record["against"] is None:
        # Of a whole text, part of which is sealed, a look is one at every sealed set.
        suites = ("lm,reasoning", "--part", "selection", "--against", "DENSE-MODEL")
    return f"next  {shell_line('evaluate', record['model'], '--suite', *suites)}"
