"""What the figures of a run rest on: how certain the choice is, what was measured again."""

from dataclasses import dataclass

from autoprune.report.parts import Part


@dataclass(frozen=True)
class Margin(Part):
    """Paired difference between the winner and another entry in the ranking figure.

    Args:
        versus: Alias of the other entry.
        mean: Winner minus the other, nats per token; negative: the winner is better.
        interval: At 95 %; None from a single window.
    """

    versus: str
    mean: float
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class WinnerChange(Part):
    """Paired change of perplexity from another recipe to the winner.

    Args:
        versus: Alias of the other recipe.
        role: ``best start`` or ``reference``.
        split: ``selection`` or ``sealed``.
        windows: Windows that both were measured on.
        change: Relative; -0.1 is 10 % lower.
        interval: Of the change, at 95 %; None from a single window.
    """

    versus: str
    role: str
    split: str
    windows: int
    change: float
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class DriftCheck(Part):
    """What was measured again to detect drift.

    Args:
        name: ``dense``, or a metric's.
        times: Number of repetitions after the first measurement.
        largest: Largest difference on a window, nats per token.
    """

    name: str
    times: int
    largest: float
