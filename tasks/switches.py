"""Environment variables that a user sets: switches and prices, read in one place."""

import math
import os

from autoprune.errors import UsageError

OFF = ("off", "0", "false", "no")
ON = ("on", "1", "true", "yes")


def switched_on(variable: str) -> bool:
    """Whether a switch is on, as it is when unset.

    Raises:
        UsageError: If its value is neither of on and off.
    """
    return chosen(variable) is not False


def chosen(variable: str) -> bool | None:
    """On or off, None when unset.

    Raises:
        UsageError: If its value is neither of on and off.
    """
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
    """Dollars per million tokens; None when unset.

    Raises:
        UsageError: If the value is no number from zero up.
    """
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
