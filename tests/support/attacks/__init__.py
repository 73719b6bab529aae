"""Hostile candidates: attempts that must be refused, and attacks with the code they must get."""

import sys
from collections.abc import Callable
from pathlib import Path

_PARTS = ("", "_on_kernel", "_on_neighbours", "_on_proc", "_on_calls")
_OURS = "from tests.support.attacks"
_FILES = ("call_numbers.py", *(f"attempts{part}.py" for part in _PARTS))


def attempts_text() -> str:
    """All files of attempts as the one text that goes into the container."""
    texts = [(Path(__file__).parent / name).read_text(encoding="utf-8") for name in _FILES]
    lines = "\n".join(texts).splitlines()
    return "\n".join(line for line in lines if not line.startswith(_OURS)) + "\n"


def attempts() -> dict[str, Callable[[], object]]:
    """All attempts by name, for a process on the host."""
    from tests.support.attacks import attempts_on_kernel, attempts_on_neighbours, attempts_on_proc
    from tests.support.attacks.attempts_on_calls import all_attempts

    modules = (attempts_on_kernel, attempts_on_neighbours, attempts_on_proc)
    names = dict(vars(sys.modules["tests.support.attacks.attempts"]))
    for module in modules:
        names |= vars(module)
    return dict(all_attempts(names))
