"""What comes back for a candidate: numbers that passed, or a reason; both are values."""

from dataclasses import dataclass

from sandbox.codes import Code
from sandbox.verdicts import Scores


@dataclass(frozen=True)
class Accepted:
    """Scores that passed every check.

    Args:
        scores: One float32 array [out, in] per layer, in the order asked for.
        seconds: Host clock, waiting for a container not counted.
        image: Tag of the image that computed them.
    """

    scores: tuple[Scores, ...]
    seconds: float
    image: str


@dataclass(frozen=True)
class Rejected:
    """Why a candidate was turned away; a value, not an exception.

    Args:
        code: A :class:`sandbox.codes.Code`.
        detail: One printable line of at most 400 characters, to repair from.
        seconds: Host clock.
        printed: The end of what the candidate printed, cleaned; for people, not for decisions.
    """

    code: Code
    detail: str
    seconds: float
    printed: str = ""
