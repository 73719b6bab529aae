"""What a post must not hold, by its text alone: rules of LiveAoPSBench (arXiv 2501.14275)."""

import re

_LINK = re.compile(r"https?://|www\.|\[(?:img|attachment)\b|!\[|\\includegraphics", re.I)
_PROOF = re.compile(r"\b(?:prove|proof|show that|disprove|q\.?\s?e\.?\s?d)\b", re.I)
_FIGURE = re.compile(r"\b(?:figures?|diagrams?|pictured|shown below)\b", re.I)
_SEVERAL = re.compile(r"\s*(?:1[.)](?!\d)|\(?a\))")
MOST_QUESTION_MARKS = 2


def unusable_reason(post: str) -> str | None:
    """Why nobody can answer a post as it stands: it needs what it links to; None: it is usable."""
    return "link" if _LINK.search(post) else None


def untestable_reason(question: str) -> str | None:
    """Why a question has not one answer that can be graded; None: it has."""
    if _PROOF.search(question):
        return "proof"
    if _FIGURE.search(question):
        return "figure"
    if _SEVERAL.match(question) or question.count("?") > MOST_QUESTION_MARKS:
        return "several_questions"
    return None
