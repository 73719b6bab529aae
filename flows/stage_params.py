"""Parameters of the flows around a search: calibrate, promote, nightly."""

from typing import Literal

from pydantic import Field, model_validator

from flows.params import DEMO_CORPUS, DEMO_MODEL, Params, SearchParams, at


class CalibrateParams(Params):
    """Collect the dense model's statistics into the store, so that later runs find them."""

    model: str = Field(
        default=DEMO_MODEL,
        description="Model: hub id, folder, .gguf file or package:module/file.gguf",
        json_schema_extra=at(0),
    )
    corpus: str = Field(
        default=DEMO_CORPUS,
        description="Text: a known name or a .txt, .jsonl or .parquet file",
        json_schema_extra=at(1),
    )
    samples: int = Field(
        default=16, ge=1, description="Calibration windows", json_schema_extra=at(2)
    )
    seqlen: int = Field(
        default=512, ge=2, description="Tokens in a window", json_schema_extra=at(3)
    )
    curvature: bool = Field(
        default=False,
        description="Also the inverse Hessian's diagonal, which SparseGPT's metric needs; slower",
        json_schema_extra=at(4),
    )
    seed: int = Field(default=0, ge=0, description="Seed", json_schema_extra=at(5))


class PromoteParams(Params):
    """Measure champion and challenger alike and move the champion when the gate passes."""

    name: str | None = Field(
        default=None,
        description="Registered model; empty: the only one with a challenger",
        json_schema_extra=at(0),
    )
    version: str | None = Field(
        default=None,
        pattern=r"^[1-9]\d*$",
        description="Challenger's version; empty: the alias 'challenger'",
        json_schema_extra=at(1),
    )
    corpus: str = Field(
        default=DEMO_CORPUS,
        description="Text on which both are measured",
        json_schema_extra=at(2),
    )
    part: Literal["sealed", "selection", "whole"] = Field(
        default="sealed",
        description="Part of the text; sealed: the one that no search chooses by",
        json_schema_extra=at(3),
    )
    windows: int = Field(
        default=20,
        ge=2,
        description="Windows, the same for both",
        json_schema_extra=at(4),
    )
    seqlen: int = Field(
        default=512, ge=2, description="Tokens in a window", json_schema_extra=at(5)
    )
    accept_tie: bool = Field(
        default=False,
        description="Also promote when the interval of the difference contains zero",
        json_schema_extra=at(6),
    )
    larger_by: float = Field(
        default=0.02,
        ge=0.0,
        le=10.0,
        description="Share by which the challenger's files may be larger than the champion's",
        json_schema_extra=at(7),
    )
    dry_run: bool = Field(
        default=False,
        description="Only show the gate table; write nothing",
        json_schema_extra=at(8),
    )
    rollback: bool = Field(
        default=False,
        description="Measure nothing; make the previous champion champion again",
        json_schema_extra=at(9),
    )
    seed: int = Field(
        default=0, ge=0, description="Seed of the text's split", json_schema_extra=at(10)
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
        description="The search; without a name of the run each night is a new one",
        json_schema_extra=at(0),
    )
    evaluate_windows: int = Field(
        default=20,
        ge=1,
        description="Windows, from the start of the text, of the winner's reported perplexity",
        json_schema_extra=at(1),
    )
    promote: PromoteParams = Field(
        default=PromoteParams(),
        description="The gate; model and text are the search's unless they are given",
        json_schema_extra=at(2),
    )
    promote_winner: bool = Field(
        default=True,
        description="Ask the gate at the end; off: the winner stays challenger",
        json_schema_extra=at(3),
    )

    @model_validator(mode="after")
    def _check_together(self) -> "NightlyParams":
        if self.promote.rollback:
            raise ValueError("a nightly run cannot roll back")
        if self.promote_winner and not self.search.register_winner:
            raise ValueError("promote_winner needs search.register_winner")
        return self
