"""Search settings shared by the command line, Prefect's form and the record of a search.

:class:`autoprune.search.spec.SearchSpec` and the parameters of the search flow inherit them,
so name, default, bounds and description are defined once. Nothing here imports torch.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, cast

from pydantic import BaseModel, Field, field_validator, model_validator

Arm = Literal[
    "whole",
    "none",
    "graph",
    "graph-permuted",
    "list",
    "best-of-n",
    "tuned",
    "genetic",
    "random",
    "grid",
]
WishedArm = Literal["auto", Arm]
# How far a recipe came; a duplicate is rejected.
Verdict = Literal["winner", "accepted", "stopped", "rejected", "unmeasured"]
# Only the designer proposes, and it proposes whole recipes; the arms differ in what it is shown.
ASKING_ARMS: tuple[Arm, ...] = ("graph", "graph-permuted", "list", "best-of-n")
# No designer is asked.
SILENT_ARMS: tuple[Arm, ...] = ("none", "tuned", "genetic", "random", "grid")
# Kinds of designers that ask no language model.
SILENT_KINDS: tuple[Literal["none", "genetic", "random"], ...] = ("none", "genetic", "random")
# Kinds that are strong models as a rule, with which the arm ``list`` was not worse than ``whole``
# (docs/discovery.md, round four: one strong model, no small one).
LISTED_KINDS = ("openai", "files")
# Designed candidates per full measurement: at most one in this many has to be worth it.
CANDIDATES_PER_EVALUATION = 20

# Usual sizes of one answer and one prompt; a form leaves them out where others suit the designer.
ANSWER_TOKENS = 160
PROMPT_TOKENS = 768
USUAL_SPARSITY = 0.6

# Least calibration windows of a program's first rung by default, which takes a quarter of all.
FEW_CALIBRATION = 4

# What the form and the record bound alike, with a default of their own. In the form, None or a word
# may stand for what follows from other settings.
Share = Annotated[float, Field(ge=0.0, lt=1.0)]
PATTERN = r"^(unstructured|\d+:\d+)$"
Pattern = Annotated[
    str,
    Field(
        pattern=PATTERN,
        description="'unstructured', or N:M such as 2:4: N zeros in every M inputs of a row",
    ),
]
# Of matrix products on selection text; what a form's ``auto`` stands for depends on the processor.
Precision = Literal["float32", "bfloat16"]
SplitNumber = Annotated[int, Field(ge=0)]
AnswerTokens = Annotated[int, Field(ge=16, le=8192)]
PromptTokens = Annotated[int, Field(ge=200, le=32768)]
Draws = Annotated[
    int,
    Field(ge=1, le=8, description="Draws of calibration text that the winner is pruned with"),
]
# Prefect stores form input before any of our code sees it, so the form must refuse logins too.
NO_LOGIN = r"^[^/?#@]*(//[^/?#@]*)?(/([^/].*)?|[?#].*)?$"


class SearchSettings(BaseModel):
    """Text, windows, ranking and size of a search."""

    calibration_windows: int = Field(
        default=16, ge=1, description="Calibration windows", json_schema_extra={"group": "what"}
    )
    seqlen: int = Field(
        default=512, ge=8, description="Tokens per window", json_schema_extra={"group": "what"}
    )
    rung_windows: int = Field(
        default=4,
        ge=2,
        description="Selection windows of the first, cheap measurement",
        json_schema_extra={"group": "what"},
    )
    rung_calibration_windows: int | None = Field(
        default=None,
        ge=1,
        description=(
            "Calibration windows that a program prunes with on the first rung (default: a quarter "
            f"of all, at least {FEW_CALIBRATION})"
        ),
        json_schema_extra={"group": "what"},
    )
    selection_windows: int = Field(
        default=12,
        ge=2,
        description="Selection windows that decide the ranking",
        json_schema_extra={"group": "what"},
    )
    sealed_windows: int = Field(
        default=100,
        ge=1,
        description="Sealed windows, read once at the end; all of them if the text has fewer",
        json_schema_extra={"group": "what"},
    )
    fitness: Literal["perplexity", "kl", "both"] = Field(
        default="perplexity",
        description=(
            "Rank recipes by loss, by distance to the dense model (kl), or by their sum in nats"
        ),
        json_schema_extra={"group": "what"},
    )
    also_sparsities: tuple[Share, ...] = Field(
        default=(),
        description="Other shares of zeros, 0 to 1, at which the best must hold too",
        json_schema_extra={"group": "what"},
    )
    bytes: float | None = Field(
        default=None,
        gt=0.0,
        lt=1.0,
        description=(
            "With schemes, instead of a share of the blocks' parameters: share of the bytes of the "
            "saved weights to remove, embeddings included"
        ),
        json_schema_extra={"group": "what", "metavar": "B"},
    )
    faster: float | None = Field(
        default=None,
        gt=1.0,
        description=(
            "With schemes, instead of a share: minimum speed, in multiples of the dense model's "
            "tokens per second on this machine (batch 1); shapes are timed once, and what was "
            "found stays on record"
        ),
        json_schema_extra={"group": "what", "metavar": "X"},
    )
    language: Literal["expression", "python", "both", "program"] = Field(
        default="expression",
        description=(
            "Candidates are formulas of the metric language, Python code that scores, or both; "
            "program: programs that choose and update the weights of a layer or block"
        ),
        json_schema_extra={"group": "designer"},
    )
    values: tuple[Literal["hessian_diag", "grad_norm"], ...] = Field(
        default=(),
        description=(
            "Let designed metrics read another value: hessian_diag, the curvature of each input, "
            "which takes a Gram matrix for each, or grad_norm, the root mean square of each "
            "weight's gradient, which takes a backward pass"
        ),
        json_schema_extra={"group": "what", "metavar": "NAME", "repeat": True},
    )
    arm: WishedArm = Field(
        default="auto",
        description=(
            "Who proposes recipes; auto: list with the designers openai and files, the designer's "
            "own name with none, genetic and random, whole with others. whole: the designer and "
            "all moves of the search; none: the same without a designer. Only the designer, asked "
            "for whole recipes and shown: the graph, the graph with its results shuffled among "
            "recipes (graph-permuted), a list of results, or only the starts (best-of-n). Without "
            "a designer: Optuna (tuned), genetic programming, random draws, or a catalogue in "
            "fixed order (grid)"
        ),
        json_schema_extra={"group": "designer"},
    )
    program_seconds: float | None = Field(
        default=None,
        gt=0,
        description=(
            "Limit on the processor's time for one call of a program, for a layer or a block; "
            "other work meanwhile does not count (default: by the sizes of the matrices, which is "
            "generous)"
        ),
        json_schema_extra={"group": "budget", "metavar": "SECONDS"},
    )
    slots: int = Field(
        default=4,
        ge=1,
        le=64,
        description="Candidates per generation",
        json_schema_extra={"group": "budget"},
    )
    seed: int = Field(default=0, ge=0, description="Seed of every random choice")

    @model_validator(mode="after")
    def _check_first_rung(self) -> Self:
        few = self.rung_calibration_windows
        if few is not None and self.language != "program":
            raise ValueError(
                f"rung_calibration_windows {few} is for programs: masks of a score are cheap from "
                "all windows; leave it out, or take the language program"
            )
        if few is not None and few > self.calibration_windows:
            raise ValueError(
                f"rung_calibration_windows {few} is more than all {self.calibration_windows} "
                "calibration windows; take at most as many"
            )
        return self

    @property
    def first_calibration(self) -> int:
        """Calibration windows that a program prunes with on the first rung."""
        usual = max(FEW_CALIBRATION, self.calibration_windows // 4)
        return min(self.rung_calibration_windows or usual, self.calibration_windows)

    @model_validator(mode="after")
    def _check_units(self) -> Self:
        if self.bytes is not None and self.faster is not None:
            raise ValueError(
                f"bytes {self.bytes:g} and faster {self.faster:g} are two budgets; give one of them"
            )
        if (self.bytes or self.faster) and self.also_sparsities:
            raise ValueError(
                "also_sparsities are other shares of what sparsity counts, and a budget in bytes "
                "or speed is not such a share; leave them out"
            )
        return self


class DesignerSettings(BaseModel):
    """How the designer is asked."""

    base_url: str | None = Field(
        default=None,
        description="Address of an OpenAI-compatible endpoint; usually ends in /v1",
        json_schema_extra={"pattern": NO_LOGIN, "group": "designer", "metavar": "URL"},
    )
    temperature: float = Field(
        default=0.8,
        ge=0.0,
        le=2.0,
        description="Sampling temperature",
        json_schema_extra={"group": "designer"},
    )
    hints: bool = Field(
        default=True,
        description="Add one of twelve hand-written hints to each question",
        json_schema_extra={"group": "designer"},
    )

    @field_validator("base_url")
    @classmethod
    def _keep_no_login(cls, value: str | None) -> str | None:
        return value if value is None else require_no_login(value)


class BudgetSettings(BaseModel):
    """Where a search stops."""

    candidates: int = Field(
        default=24,
        ge=0,
        description="Limit on designed candidates, rejected ones included",
        json_schema_extra={"group": "budget"},
    )
    evaluations: int | None = Field(
        default=None,
        ge=1,
        description=(
            "Limit on distinct candidates measured on all selection windows; each goes there "
            f"directly, and candidates then default to {CANDIDATES_PER_EVALUATION} times as many"
        ),
        json_schema_extra={"group": "budget"},
    )
    tokens: int | None = Field(
        default=None,
        ge=1,
        description="Limit on designer tokens, prompts and completions",
        json_schema_extra={"group": "budget", "unset": "no limit"},
    )
    money: float | None = Field(
        default=None,
        gt=0,
        description="Limit on the designer's cost in dollars; needs a price",
        json_schema_extra={"group": "budget", "metavar": "DOLLARS", "unset": "no limit"},
    )

    @model_validator(mode="before")
    @classmethod
    def _leave_room_for_evaluations(cls, values: Any) -> Any:
        wanted = values.get("evaluations") if isinstance(values, dict) else None
        if not isinstance(wanted, int) or "candidates" in values:
            return values
        return {**values, "candidates": CANDIDATES_PER_EVALUATION * wanted}


def settle_arm(arm: WishedArm, kind: str) -> tuple[Arm, str]:
    """Resolve arm and kind of designer; one may imply both: ``--designer none`` is the arm none."""
    silent = kind in SILENT_KINDS
    # Records of earlier versions say whole where nobody is asked.
    if silent and arm in ("auto", "whole"):
        return cast(Arm, kind), kind
    if arm == "auto":
        return "list" if kind in LISTED_KINDS else "whole", kind
    if arm in SILENT_ARMS and kind == "auto":
        return arm, arm if arm in ("genetic", "random") else "none"
    if arm in SILENT_ARMS and not silent:
        raise ValueError(f"the arm {arm} asks nobody; leave out the designer {kind}")
    if arm not in SILENT_ARMS and silent:
        raise ValueError(
            f"the arm {arm} asks a designer, and {kind} is not a designer; choose another"
        )
    if kind in ("genetic", "random") and kind != arm:
        raise ValueError(f"the arm {arm} is not the designer {kind}; leave out one of both")
    return arm, kind


def require_no_login(address: str) -> str:
    """Return the address; refuse one with a login, since records, forms and reports keep it."""
    if re.match(r"(?:[^/?#]*:)?(?://)?[^/?#]*@", address):
        raise ValueError(
            "an address with a name or password would be kept in records; take them out and set "
            "OPENAI_API_KEY instead"
        )
    return address


def with_text_split(value: Mapping[str, Any]) -> dict[str, Any]:
    """Upgrade settings of an earlier version, where the text's split used the run's seed."""
    return {"text_split": value.get("seed", 0), **value}
