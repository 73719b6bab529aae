"""The text a bench works on, and the number of windows of each part."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from autoprune.digest import digest_bytes

if TYPE_CHECKING:
    from torch import Tensor

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


def windows_digest(windows: "Tensor") -> str:
    """SHA-256 of token windows, shape included."""
    return digest_bytes(
        repr(tuple(windows.shape)).encode() + windows.contiguous().numpy().tobytes()
    )
