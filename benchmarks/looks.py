"""The part of a text that a benchmark measures on; a look at a sealed one is counted."""

from collections.abc import Mapping
from typing import Any

from autoprune.digest import digest_json
from autoprune.text.corpus import Corpus
from autoprune.text.splits import Splits
from tasks.sealed_looks import record_look
from tasks.state import State


def measured_part(benchmark: str, part: str, parts: Splits, asked: Mapping[str, Any]) -> Corpus:
    """The selection or the sealed part, whose look stands in the ledger afterwards.

    Args:
        benchmark: Its name.
        part: ``selection`` or ``sealed``.
        parts: The text.
        asked: What it was asked for: the same again is not a further look.
    """
    if part == "selection":
        return parts.selection
    look = f"benchmark {benchmark} {digest_json(asked)[:16]}"
    record_look(
        State.open(), parts.sealed.digest, look, parts.whole, kind="benchmark", splits=parts
    )
    return parts.sealed
