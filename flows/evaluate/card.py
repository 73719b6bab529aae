"""Figures of an evaluation for a model's card, one section for each suite."""

from collections.abc import Mapping
from typing import Any

from autoprune.plain_text import in_code, in_markdown
from flows.evaluate.text import by_protocol, difference, figure_text, key_of, protocol_text


def card_sections(record: Mapping[str, Any]) -> dict[str, str]:
    """Markdown by name of the suite: a table for each protocol, and the protocol below it."""
    compared = {key_of(entry, entry): entry for entry in record["comparison"]}
    against = f"against {in_code(record['against'])}" if record["against"] else ""
    sections: dict[str, list[str]] = {}
    for rows in by_protocol(record["rows"]):
        lines = [f"| metric | of | this model | {against} |", "|---|---|---|---|"]
        for row in rows:
            found = compared.get(key_of(row, row["protocol"]))
            other = difference(found) if found else ""
            cells = (row["metric"], row["name"], figure_text(row), other)
            lines.append("| " + " | ".join(in_markdown(cell, 300) for cell in cells) + " |")
        protocol = in_markdown(protocol_text(rows[-1]))
        sections.setdefault(rows[0]["suite"], []).append("\n".join(lines) + f"\n\n{protocol}")
    return {suite: "\n\n".join(parts) for suite, parts in sections.items()}
