"""Environment variables that a user sets: switches and prices, read in one place."""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager

from autoprune.errors import UsageError

OFF = ("off", "0", "false", "no")
ON = ("on", "1", "true", "yes")
# Read in autoprune.models.device, which imports torch.
DEVICE_VARIABLE = "AUTOPRUNE_DEVICE"
RECORD_VARIABLE = "AUTOPRUNE_PREFECT"
TRACES_VARIABLE = "AUTOPRUNE_TRACES"
# Dollars per million tokens; only its owner knows what a designer costs.
PROMPT_PRICE = "AUTOPRUNE_PRICE_PROMPT"
ANSWER_PRICE = "AUTOPRUNE_PRICE_ANSWER"


def switched_on(variable: str) -> bool:
    """Whether a switch is on, which is the default when unset."""
    return chosen(variable) is not False


def chosen(variable: str) -> bool | None:
    """On or off, None when unset."""
    text = os.environ.get(variable, "").strip().lower()
    if not text:
        return None
    if text in (*ON, *OFF):
        return text in ON
    raise UsageError(
        f"{variable} is {text!r}; allowed are {', '.join(ON)} and {', '.join(OFF)}; set it to "
        "one of these or unset it"
    )


def price(variable: str) -> float | None:
    """Dollars per million tokens; None when unset."""
    text = os.environ.get(variable, "").strip()
    if not text:
        return None
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not 0.0 <= found < math.inf:
        raise UsageError(
            f"{variable} is {text!r}; it must be a number of dollars per million tokens, zero or "
            "more, such as 2.5; correct it or unset it"
        )
    return found


def tracing_wanted() -> bool:
    """Whether calls are traced; ``AUTOPRUNE_TRACES=off`` switches it off."""
    return switched_on(TRACES_VARIABLE)


def prices() -> tuple[float | None, float | None]:
    """Dollars per million tokens of questions and of answers; None where unset."""
    return price(PROMPT_PRICE), price(ANSWER_PRICE)


@contextmanager
def computing_on(device: str | None) -> Iterator[None]:
    """Load models onto a device while the body runs; None: the one chosen for this process.

    The choice is an environment variable, which processes started in the body inherit.
    """
    if device is None:
        yield
        return
    before = os.environ.get(DEVICE_VARIABLE)
    os.environ[DEVICE_VARIABLE] = device
    try:
        yield
    finally:
        if before is None:
            del os.environ[DEVICE_VARIABLE]
        else:
            os.environ[DEVICE_VARIABLE] = before
