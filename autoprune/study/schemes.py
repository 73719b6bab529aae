"""What a study prunes by: a method of the catalogue, or a scheme that is known but not built."""

from collections.abc import Mapping
from dataclasses import dataclass

from autoprune.comparison.methods import Method, parse_method
from autoprune.errors import UnknownNameError, UsageError

DENSE = "dense"
_DEPTH = "it removes whole blocks, and this version sets single weights to zero"
_WIDTH = "it removes heads, channels or dimensions, and this version sets single weights to zero"
_DYNAMIC = "it skips blocks by a trained router, and this version changes weights only"
# The schemes of the paper that no metric x allocation x solver can express.
NOT_BUILT: Mapping[str, str] = {
    "shortgpt": _DEPTH, "sleb": _DEPTH, "shortened-ppl": _DEPTH, "shortened-taylor": _DEPTH,
    "llm-pruner": _WIDTH, "slicegpt": _WIDTH,
    "mod": _DYNAMIC, "d-llm": _DYNAMIC, "skipgpt": _DYNAMIC,
}  # fmt: skip


@dataclass(frozen=True)
class Scheme:
    """One way to prune.

    Args:
        name: Its shortest spelling.
        method: How; None for the dense model and for what is not built.
        reason: Why it is unavailable; empty where it is not.
    """

    name: str
    method: Method | None = None
    reason: str = ""

    @property
    def needs_calibration(self) -> bool:
        """Whether other calibration text could give other weights."""
        method = self.method
        return method is not None and (method.metric, method.allocation, method.solver) != (
            "magnitude", "uniform", "none",
        )  # fmt: skip


def parse_scheme(text: str) -> Scheme:
    """Read one scheme: ``dense``, a method such as ``wanda+sdsa``, or a name of the paper.

    Raises:
        UnknownNameError: If nothing of this name exists.
        UsageError: If a part of the method is wrong.
    """
    name = text.strip()
    if name == DENSE:
        return Scheme(DENSE)
    if name in NOT_BUILT:
        return Scheme(name, reason=f"the scheme {name!r} is not built: {NOT_BUILT[name]}")
    try:
        method = parse_method(name)
    except UnknownNameError as error:
        raise UsageError(f"{error}; schemes of the paper: {', '.join(sorted(NOT_BUILT))}") from None
    return Scheme(method.name, method)
