"""Parameters of the flows around a search: inspect, calibrate, one stage, promote, nightly."""

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from flows import library
from flows.params.base import Params, setting
from flows.params.fields import (
    DEMO_CORPUS,
    DEMO_MODEL,
    TEXT,
    CalibrationWindows,
    Device,
    Dtype,
    ModelRef,
    Seed,
    Seqlen,
    TextSplit,
)
from flows.params.named import check_corpora, check_device, check_models
from flows.params.search import SearchParams

# Prefix of the names of registered models.
OURS = "autoprune."


class InspectParams(Params):
    """Show what a model's matrices look like, and what pruning each alone costs."""

    model: ModelRef = setting(DEMO_MODEL, metavar="MODEL", positional=True)
    corpus: str = setting(DEMO_CORPUS, f"Text: {TEXT}", metavar="REF")
    sparsity: float = setting(
        0.6, "Share of zeros in each part pruned alone", metavar="S", gt=0.0, lt=1.0
    )
    layers: str = setting(
        "first,middle,last",
        "Blocks to prune alone, and their matrices one by one: first, middle, last, all, or "
        "numbers from 0, separated by commas; each matrix takes a pass over the selection windows",
        metavar="LIST",
    )
    calibration_windows: CalibrationWindows = setting(16)
    selection_windows: int = setting(
        4, "Selection windows for measuring the loss", metavar="N", ge=1
    )
    seqlen: Seqlen = setting(512)
    dtype: Dtype = setting("float32")
    device: Device = setting(metavar="NAME")
    out: str | None = setting(
        None, "Folder for inspection.json and inspection.png (default: print only)", metavar="DIR"
    )

    def check(self) -> None:
        """See :meth:`Params.check`."""
        check_corpora(self.corpus)
        check_models(self.model)
        check_device(self.device)


class CalibrateParams(Params):
    """Collect the dense model's statistics into the store, so that later runs find them."""

    RENAMED: ClassVar[dict[str, str]] = {"samples": "calibration_windows"}

    model: ModelRef = setting(DEMO_MODEL, metavar="MODEL", positional=True)
    corpus: str = setting(DEMO_CORPUS, f"Text: {TEXT}", metavar="REF")
    calibration_windows: CalibrationWindows = setting(16)
    seqlen: Seqlen = setting(512)
    curvature: bool = setting(
        False,
        "Also collect the inverse Hessian's diagonal, which SparseGPT's metric needs; slower",
    )
    dtype: Dtype = setting("float32")
    device: Device = setting(metavar="NAME")
    seed: Seed = setting(0)

    def check(self) -> None:
        """See :meth:`Params.check`."""
        check_corpora(self.corpus)
        check_models(self.model)
        check_device(self.device)


StageName = Literal["calibrate", "design", "validate", "measure", "seal", "register"]


class StageParams(Params):
    """One stage of a search that is there already: what is open of it, or done once more."""

    run: str | None = setting(None, "Name of the search (default: the latest)", metavar="RUN")
    stage: StageName = setting(
        "measure",
        "calibrate: collect the statistics again; design: ask the open questions; validate, "
        "measure: do open work, else repeat the winner; seal: make the final measurement; "
        "register: save and register the winner in MLflow",
    )
    candidate: str | None = setting(
        None,
        "Candidate or start, such as C3, that validate or measure repeats and compares with the "
        "record",
        metavar="NAME",
    )
    look_again: bool = setting(
        False, "With seal: look at the sealed text again and compare; the ledger counts the look"
    )
    device: Device = setting(
        None,
        "Device of torch to compute on, such as cpu or cuda:1 (default: that which the search was "
        "started with)",
        metavar="NAME",
    )

    @model_validator(mode="after")
    def _check_together(self) -> "StageParams":
        if self.candidate is not None and self.stage not in ("validate", "measure"):
            raise ValueError(f"the stage {self.stage} is of the whole search; leave out candidate")
        if self.look_again and self.stage != "seal":
            raise ValueError(f"the stage {self.stage} reads no sealed text; leave out look_again")
        return self


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
            raise ValueError(f"{self.name!r} is no name of ours; a registered one begins {OURS}")
        return self

    def check(self) -> None:
        """See :meth:`Params.check`."""
        if not self.rollback:
            check_corpora(self.corpus)
            check_device(self.device)
        if self.folder is not None:
            library.made_record(self.folder)


class NightlyParams(Params):
    """Search, evaluate the winner, and promote it when the gate passes."""

    RENAMED: ClassVar[dict[str, str]] = {"evaluate_windows": "measured_windows"}

    search: SearchParams = Field(
        default=SearchParams(),
        description=(
            "The search; without a run name, each night is a new run; seed and text split 0 become "
            "the night's own number, days since 2000-01-01"
        ),
    )
    build_on: bool = Field(
        default=True,
        description=(
            "Start the search with the champion's recipe, else that of the latest winner with this "
            "model, share of zeros and pattern"
        ),
    )
    measured_windows: int = Field(
        default=100,
        ge=1,
        description=(
            "Windows for the winner's reported perplexity, spread over the night's sealed set"
        ),
    )
    promote: PromoteParams = Field(
        default=PromoteParams(),
        description=(
            "The gate; the model is the search's, and so is the text unless given, on a sealed set "
            "that nobody looked at"
        ),
    )
    promote_winner: bool = Field(
        default=True, description="Ask the gate at the end; off: the winner stays the challenger"
    )

    @model_validator(mode="after")
    def _check_together(self) -> "NightlyParams":
        if self.promote.rollback:
            raise ValueError("a nightly run cannot roll back")
        if self.promote_winner and not self.search.register_winner:
            raise ValueError("promote_winner needs search.register_winner")
        return self

    def check(self) -> None:
        """See :meth:`Params.check`."""
        self.search.check()
        self.promote.check()
