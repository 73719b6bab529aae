"""The part of a model card that evaluations write: one section for each suite."""

import re
from collections.abc import Mapping

HEADING = "## Measured with `autoprune evaluate`"
# A section ends where its suite is named again, so that a later evaluation finds what to replace.
_SECTION = re.compile(
    r"<!-- suite (?P<suite>[\w-]+) -->\n.*?<!-- end of (?P=suite) -->\n?", re.DOTALL
)


def with_sections(card: str, sections: Mapping[str, str]) -> str:
    """The card with these sections; those of other suites and all other text stay as they are."""
    found = {match["suite"]: match[0].rstrip("\n") for match in _SECTION.finditer(card)}
    found |= {suite: _marked(suite, text) for suite, text in sections.items()}
    kept = _SECTION.sub("", card).replace(HEADING, "").rstrip()
    return "\n\n".join(filter(None, [kept, HEADING, *found.values()])) + "\n"


def _marked(suite: str, text: str) -> str:
    return f"<!-- suite {suite} -->\n### {suite}\n\n{text}\n\n<!-- end of {suite} -->"
