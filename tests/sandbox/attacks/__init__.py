"""Hostile candidates: attempts that must be refused, and attacks with the code they must get."""

from pathlib import Path

_FILES = ("attempts.py", "attempts_on_kernel.py", "attempts_on_neighbours.py")


def attempts_text() -> str:
    """All files of attempts as the one text that goes into the container."""
    texts = [(Path(__file__).parent / name).read_text(encoding="utf-8") for name in _FILES]
    lines = "\n".join(texts).splitlines()
    return "\n".join(line for line in lines if not line.startswith("from attacks")) + "\n"


def attempt_names() -> list[str]:
    """Names of all attempts, in order."""
    from attacks import attempts, attempts_on_kernel, attempts_on_neighbours

    found = vars(attempts) | vars(attempts_on_kernel) | vars(attempts_on_neighbours)
    return sorted(name for name in found if name[:1] in "af" and name[1:4].isdigit())
