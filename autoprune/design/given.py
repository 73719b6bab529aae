"""Reads what a designer is given as files: facts about a model, and the answers of a script."""

import json
from pathlib import Path

from autoprune.errors import UsageError


def read_facts(path: Path) -> list[str]:
    """Read the sentences from a saved inspection."""
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))["facts"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{path} is not an inspection ({type(error).__name__}); write one with `autoprune "
            "inspect MODEL --out DIR` and name its inspection.json"
        ) from error
    if not isinstance(facts, list) or not all(isinstance(fact, str) for fact in facts):
        raise UsageError(f"{path} holds no list of sentences as facts; inspect the model again")
    return facts


def read_script(path: Path | None) -> list[str]:
    """Answers of a scripted designer, one JSON string per line."""
    if path is None or not path.is_file():
        raise UsageError(f"the scripted designer needs a file of answers; {path} is not one")
    answers = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text ({error.reason}); save it as UTF-8") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            answer = json.loads(line)
        except ValueError:
            answer = None
        if not isinstance(answer, str):
            raise UsageError(f"{path}:{number} is not a JSON string; write one answer a line")
        answers.append(answer)
    if not answers:
        raise UsageError(f"{path} holds no answers; write one JSON string a line")
    return answers
