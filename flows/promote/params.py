"""Parameters of the promotion flow."""

from typing import ClassVar, Literal

from pydantic import model_validator

from autoprune.models.record import made_record
from flows.params.base import Params, setting
from flows.params.fields import (
    DEMO_CORPUS,
    TEXT,
    Device,
    Dtype,
    Seqlen,
    TextSplit,
)
from flows.params.named import check_corpora, check_device

# Prefix of the names of registered models.
OURS = "autoprune."


class PromoteParams(Params):
    """Measure champion and challenger alike and move the champion when the gate passes."""

    RENAMED: ClassVar[dict[str, str]] = {"windows": "measured_windows"}
    RECORDED_AS: ClassVar[dict[str, str]] = {"measured_windows": "windows"}
    LATER: ClassVar[tuple[str, ...]] = ("device", "dtype")

    name: str | None = setting(
        None, "Registered model (default: the only one with a challenger)", metavar="NAME"
    )
    version: str | None = setting(
        None,
        "Version of the challenger (default: the alias 'challenger')",
        metavar="N",
        pattern=r"^[1-9]\d*$",
        form="the number of a version, such as 3",
    )
    folder: str | None = setting(
        None,
        "Folder written by `autoprune prune` to register as the challenger first; if no name is "
        "given, under its base model and share: .s60 for 60 % zeros, .p20 for 20 % of the blocks' "
        "parameters removed",
        metavar="DIR",
    )
    corpus: str = setting(DEMO_CORPUS, f"Text to measure both on: {TEXT}", metavar="REF")
    part: Literal["sealed", "selection", "whole"] = setting(
        "sealed", "Part of the text; no search of this split chooses by its sealed part"
    )
    measured_windows: int = setting(
        100,
        "Windows of that part, the same for both; all of them if the text has fewer",
        ge=2,
    )
    seqlen: Seqlen = setting(512)
    dtype: Dtype = setting("float32")
    device: Device = setting(metavar="NAME")
    accept_tie: bool = setting(
        False, "Also promote if the interval of the difference contains zero"
    )
    larger_by: float = setting(
        0.02,
        "Share by which the challenger's files may be larger than the champion's",
        metavar="S",
        ge=0.0,
        le=10.0,
    )
    dry_run: bool = setting(False, "Only show the gate table; write nothing")
    rollback: bool = setting(False, "Measure nothing; restore the previous champion")
    text_split: TextSplit | None = setting(
        None,
        "Number of the text split; fresh: the lowest whose sealed set nobody has looked at, see "
        "`autoprune ls sealed` (default: that of the search that made the challenger, else 0)",
    )

    @model_validator(mode="after")
    def _check_together(self) -> "PromoteParams":
        if self.rollback and self.version is not None:
            raise ValueError("rollback goes to the alias 'previous' and takes no version")
        if self.folder is not None and (self.rollback or self.version is not None):
            raise ValueError("a folder becomes a new version; leave out version and rollback")
        if self.folder is not None and self.dry_run:
            raise ValueError("a folder is registered first and a dry run writes nothing")
        if self.folder is not None and not (self.name or OURS).startswith(OURS):
            raise ValueError(
                f"{self.name!r} is not a valid name; names of registered models begin with {OURS}"
            )
        return self

    def check(self) -> None:
        """See :meth:`Params.check`."""
        if not self.rollback:
            check_corpora(self.corpus)
            check_device(self.device)
        if self.folder is not None:
            made_record(self.folder)
