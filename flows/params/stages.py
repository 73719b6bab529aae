"""Parameters of the flows around a search: calibrate, promote, nightly."""

from typing import Literal

from pydantic import Field, model_validator

from flows.params.base import Params
from flows.params.fields import (
    DEMO_CORPUS,
    DEMO_MODEL,
    ModelRef,
    Samples,
    Seed,
    Seqlen,
    Text,
    TextSplit,
)
from flows.params.search import SearchParams


class CalibrateParams(Params):
    """Collect the dense model's statistics into the store, so that later runs find them."""

    model: ModelRef = DEMO_MODEL
    corpus: Text = DEMO_CORPUS
    samples: Samples = 16
    seqlen: Seqlen = 512
    curvature: bool = Field(
        default=False,
        description="Also the inverse Hessian's diagonal, which SparseGPT's metric needs; slower",
    )
    seed: Seed = 0


class PromoteParams(Params):
    """Measure champion and challenger alike and move the champion when the gate passes."""

    name: str | None = Field(
        default=None, description="Registered model; empty: the only one with a challenger"
    )
    version: str | None = Field(
        default=None,
        pattern=r"^[1-9]\d*$",
        description="Challenger's version; empty: the alias 'challenger'",
    )
    corpus: str = Field(default=DEMO_CORPUS, description="Text on which both are measured")
    part: Literal["sealed", "selection", "whole"] = Field(
        default="sealed",
        description="Part of the text; no search of this split chooses by its sealed part",
    )
    windows: int = Field(
        default=100, ge=2, description="Windows, the same for both; all where the text has fewer"
    )
    seqlen: Seqlen = 512
    accept_tie: bool = Field(
        default=False, description="Also promote when the interval of the difference contains zero"
    )
    larger_by: float = Field(
        default=0.02,
        ge=0.0,
        le=10.0,
        description="Share by which the challenger's files may be larger than the champion's",
    )
    dry_run: bool = Field(default=False, description="Only show the gate table; write nothing")
    rollback: bool = Field(
        default=False, description="Measure nothing; make the previous champion champion again"
    )
    text_split: TextSplit | None = Field(
        default=None,
        description=(
            "Number of the text's split; fresh: the lowest whose sealed set nobody has looked at; "
            "empty: that of the search that made the challenger, else 0"
        ),
    )

    @model_validator(mode="after")
    def _check_together(self) -> "PromoteParams":
        if self.rollback and self.version is not None:
            raise ValueError("rollback goes to the alias 'previous' and takes no version")
        return self


class NightlyParams(Params):
    """Search, evaluate the winner, and promote it when the gate passes."""

    search: SearchParams = Field(
        default=SearchParams(),
        description=(
            "The search; without a name of the run each night is a new one, and seed and text "
            "split 0 are the night's own, days since 2000-01-01"
        ),
    )
    evaluate_windows: int = Field(
        default=100,
        ge=1,
        description=(
            "Windows, spread over the night's sealed set, of the winner's reported perplexity"
        ),
    )
    promote: PromoteParams = Field(
        default=PromoteParams(),
        description=(
            "The gate; model and text are the search's unless they are given, on a sealed set that "
            "nobody looked at"
        ),
    )
    promote_winner: bool = Field(
        default=True, description="Ask the gate at the end; off: the winner stays challenger"
    )

    @model_validator(mode="after")
    def _check_together(self) -> "NightlyParams":
        if self.promote.rollback:
            raise ValueError("a nightly run cannot roll back")
        if self.promote_winner and not self.search.register_winner:
            raise ValueError("promote_winner needs search.register_winner")
        return self
