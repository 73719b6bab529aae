"""The text a bench works on, and the number of windows of each part."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Part = Literal["calibration", "selection", "sealed"]
CALIBRATION: Part = "calibration"
SELECTION: Part = "selection"
SEALED: Part = "sealed"


@dataclass
class BenchText:
    """A text in three parts.

    Args:
        corpus: Reference of the text.
        seqlen: Tokens per window.
        counts: Windows of each part. The sealed part may hold fewer; then all of it is used.
        split: Number of the text's split.
        options: Names of the options that set a part's count or ``seqlen``, where they differ.
    """

    corpus: str
    seqlen: int
    counts: dict[str, int]
    split: int = 0
    options: Mapping[str, str] = field(default_factory=dict)
