"""Find the final answer in a model's reply."""

import re

_BOX = re.compile(r"\\(?:boxed|fbox)\s*(?=[{\w])")
_NUMBER = re.compile(r"-?\d+(?:,\d{3})*(?:\.\d+)?")


def boxed_answer(text: str) -> str | None:
    r"""Content of the last ``\boxed{...}``; None without one or with unbalanced braces.

    Raw strings are not read as answers: an audit of LiveAoPSBench-2024 (arXiv 2501.14275) found
    that bare and boxed readings disagree on a fifth of the items.
    """
    boxes = list(_BOX.finditer(text))
    if not boxes:
        return None
    start = boxes[-1].end()
    if text[start] != "{":
        return text[start]
    depth = 0
    for end in range(start, len(text)):
        if text[end - 1] == "\\":
            continue
        depth += (text[end] == "{") - (text[end] == "}")
        if depth == 0:
            return text[start + 1 : end].strip() or None
    return None


def marked_answer(text: str, marker: str) -> str | None:
    """The rest of the line after the last ``marker``, without a final full stop."""
    _, found, rest = text.rpartition(marker)
    lines = rest.strip().splitlines()
    if not found or not lines:
        return None
    return lines[0].strip().removesuffix(".").strip() or None


def last_number(text: str) -> str | None:
    """The last number in ``text``; a leniency, because a reply may mention any number last."""
    numbers = _NUMBER.findall(text)
    return numbers[-1] if numbers else None
