"""Errors that a user can act on; each carries a command-line exit code.

Messages say what was wrong (including the value), what is allowed, and what to do.
"""

import difflib
from collections.abc import Iterable

# Longest detail of a rejection, as logs and prompts hold it.
LONGEST_DETAIL = 400


class AutopruneError(Exception):
    """Something failed in a way the user can understand; exit code 1."""

    exit_code = 1


def reason_of(
    error: BaseException, limit: int | None = 200, *, named: bool = False, first_line: bool = False
) -> str:
    """An error's message on one line; the name of its type if there is no message."""
    text = str(error).strip()
    message = " ".join((text.partition("\n")[0] if first_line else text).split())[:limit]
    name = type(error).__name__
    return f"{name}: {message}" if named and message else message or name


class UsageError(AutopruneError):
    """A wrong argument, name or configuration; exit code 2."""

    exit_code = 2


class UnknownNameError(UsageError):
    """A name that no registry holds; the message suggests the nearest ones.

    Args:
        kind: What was looked up, for example ``"metric"``.
        name: The name that was not found.
        known: All names that exist.
        instead: What to use for this name instead; replaces the suggestion.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], instead: str = "") -> None:
        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        hint = f"{instead}; " if instead else hint
        super().__init__(f"unknown {kind} {name!r}; {hint}known: {', '.join(names) or 'none'}")
        self.name = name


class UnsupportedModelError(AutopruneError):
    """A model whose family or shape a method does not support; exit code 1."""


class OutOfTimeError(AutopruneError):
    """Work was stopped because its time was up; says how far it got."""


class PrerequisiteError(AutopruneError):
    """Something outside AutoPrune is missing (Docker, a package, an endpoint); exit code 4."""

    exit_code = 4


class DamagedFileError(AutopruneError):
    """A file whose content does not match its recorded digest; exit code 1."""


class DamagedStatisticsError(AutopruneError):
    """Statistics in memory that differ from those collected and stored; exit code 1."""


class InfiniteActivationError(AutopruneError):
    """An activation of a calibration pass that is infinite or not a number; exit code 1."""


class InfiniteGradientError(AutopruneError):
    """A gradient of the calibration loss that is infinite or not a number; exit code 1."""


class NothingPassedError(AutopruneError):
    """The work finished, but no candidate passed the gate; exit code 3."""

    exit_code = 3
