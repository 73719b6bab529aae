"""What comes back for a candidate: scores that passed, or a reason; both are values."""

from dataclasses import dataclass

from sandbox.codes import Code
from sandbox.verdicts import Scores


@dataclass(frozen=True)
class Accepted:
    """Scores that passed every check.

    Args:
        scores: One float32 array [out, in] per layer, in the order asked for.
        seconds: Host clock, excluding the wait for a container.
        image: Tag of the image that computed them.
    """

    scores: tuple[Scores, ...]
    seconds: float
    image: str


@dataclass(frozen=True)
class Rejected:
    """Why a candidate was rejected; a value, not an exception.

    Args:
        code: A :class:`sandbox.codes.Code`.
        detail: One printable line of at most 400 characters, for repairing the candidate.
        seconds: Host clock.
        printed: The end of what the candidate printed, cleaned; for people, not for decisions.
    """

    code: Code
    detail: str
    seconds: float
    printed: str = ""
