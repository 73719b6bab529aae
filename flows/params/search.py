"""Parameters of the search flow."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from autoprune.design.kinds import SILENT, DesignerKind
from autoprune.report.sealed import FRESH
from flows.params.base import Params
from flows.params.fields import (
    DEMO_CORPUS,
    DEMO_MODEL,
    USUAL_WORKERS,
    ModelRef,
    Pattern,
    RunnerAddress,
    Samples,
    Seed,
    Seqlen,
    Share,
    SharedStore,
    Sparsity,
    TextSplit,
    Workers,
    require_used,
    share_of,
    split_number,
)
from tasks.state import model_slug

if TYPE_CHECKING:
    from autoprune.search.spec import SearchSpec

# Code is longer than a formula, and so is the prompt that asks for it.
PYTHON_ANSWERS: dict[str, Any] = {"max_tokens": 800, "prompt_tokens": 1600}
# Prefect keeps what the form sends before any of our code sees it, so the form refuses it too.
NO_LOGIN = r"^[^/?#@]*(//[^/?#@]*)?(/([^/].*)?|[?#].*)?$"


class SearchParams(Params):
    """Search for the best way to prune one model."""

    model: ModelRef = DEMO_MODEL
    corpus: str = Field(
        default=DEMO_CORPUS, description="Text, split into calibration, selection and sealed parts"
    )
    sparsity: Sparsity = None
    pattern: Pattern = "unstructured"
    designer: DesignerKind = Field(
        default="auto",
        description=(
            "Who writes candidates; auto: the endpoint of OPENAI_BASE_URL or OPENAI_API_KEY when "
            "set, else the local model; self: the target itself, served from its GGUF file; none: "
            "no language model, the search's own moves only"
        ),
    )
    base_url: str | None = Field(
        default=None,
        description="Address of an OpenAI-compatible endpoint; usually ends in /v1",
        json_schema_extra={"pattern": NO_LOGIN},
    )
    designer_model: str | None = Field(
        default=None,
        description=(
            "Model name at the endpoint, or several with commas between, chosen among by what they "
            "gain; of the designer local, a .gguf file"
        ),
    )
    temperature: float = Field(default=0.8, ge=0.0, le=2.0, description="Sampling temperature")
    answer_tokens: int | None = Field(
        default=None,
        ge=16,
        le=8192,
        description=(
            "Limit of one answer, thoughts included; empty: 160, for code 800; a model that thinks "
            "needs some thousands"
        ),
    )
    prompt_tokens: int | None = Field(
        default=None,
        ge=200,
        le=32768,
        description="Budget of one prompt in tokens; empty: 640, for code 1600",
    )
    hints: bool = Field(
        default=True,
        description="Hand each question one of twelve ideas that people wrote down",
    )
    language: Literal["expression", "python", "both"] = Field(
        default="expression",
        description="Candidates as formulas of the metric language, Python code, or both",
    )
    candidates: int = Field(
        default=24, ge=0, description="Designed candidates, rejected ones included"
    )
    minutes: float | None = Field(
        default=None,
        gt=0,
        description=(
            "Time limit in minutes of designing and measuring, baselines and the end included; "
            "loading, calibration and saving come on top"
        ),
    )
    tokens: int | None = Field(default=None, ge=1, description="Limit of designer tokens")
    money: float | None = Field(
        default=None, gt=0, description="Limit in dollars of designer answers; needs a price"
    )
    price: str | None = Field(
        default=None,
        pattern=r"^\d*\.?\d+,\d*\.?\d+$",
        description="Dollars per million tokens of questions and of answers, such as 0.15,0.6",
    )
    samples: Samples = 16
    seqlen: Annotated[Seqlen, Field(ge=8)] = 512
    rung_windows: int = Field(
        default=4, ge=2, description="Selection windows of the first, cheap measurement"
    )
    windows: int = Field(default=12, ge=2, description="Selection windows that decide the ranking")
    sealed_windows: int = Field(
        default=100,
        ge=1,
        description="Sealed windows, read once at the end; all there are where the text has fewer",
    )
    slots: int = Field(default=4, ge=1, le=64, description="Candidates per generation")
    solver: str = Field(
        default="auto",
        description=(
            "Repair of the weights that stay; several, with commas between: those to choose from; "
            "auto: the usual ones to choose from"
        ),
    )
    fitness: Literal["perplexity", "kl", "both"] = Field(
        default="perplexity",
        description="What ranks recipes: loss, distance to the dense model, or both",
    )
    also_sparsities: tuple[Share, ...] = Field(
        default=(),
        description="Other shares of zeros, 0 to 1, at which the best have to hold too",
    )
    draws: int = Field(
        default=3,
        ge=1,
        le=8,
        description="Draws of calibration text that the winner is pruned with",
    )
    prompts: str | None = Field(
        default=None, description="Folder of prompt templates that replace ours of the same name"
    )
    sandbox: Literal["docker", "off"] = Field(
        default="docker",
        description="Where designed metrics run; off: formulas only, no Docker needed",
    )
    script: str | None = Field(
        default=None,
        description="File of answers for the scripted designer, one JSON string a line",
    )
    register_winner: bool = Field(
        default=True, description="Log the winner's checkpoint to MLflow and register it"
    )
    run: str | None = Field(
        default=None,
        description="Name of the run; empty: made from the settings, so the same go on",
    )
    seed: Seed = 0
    text_split: TextSplit = 0
    runner: Literal["thread", "dask", "ray"] = Field(
        default="thread",
        description=(
            "Where candidates are measured; thread: in the run's own process; the outcome is the "
            "same"
        ),
    )
    workers: Workers = USUAL_WORKERS
    runner_address: RunnerAddress = None
    shared_store: SharedStore = None

    @field_validator("base_url")
    @classmethod
    def _keep_no_login(cls, value: str | None) -> str | None:
        from autoprune.search.spec import require_no_login

        return value if value is None else require_no_login(value)

    @model_validator(mode="after")
    def _check_together(self) -> "SearchParams":
        if self.rung_windows > self.windows:
            raise ValueError("rung_windows must not be above windows")
        if not self.solver.strip(" ,"):
            raise ValueError(
                f"solver {self.solver!r} names no repair; write auto, or names such as none,mrp"
            )
        if (self.designer == "scripted") != (self.script is not None):
            raise ValueError("the designer scripted needs a script, and no other takes one")
        if self.base_url is not None and self.designer not in ("auto", "openai"):
            raise ValueError(
                f"the designer {self.designer} asks no endpoint; choose openai, or leave out "
                "base_url"
            )
        sizes = (self.answer_tokens, self.prompt_tokens)
        if sizes != (None, None) and self.designer in SILENT:
            raise ValueError(
                f"the designer {self.designer} writes no answers; choose another, or leave out "
                "answer_tokens and prompt_tokens"
            )
        if not self.hints and self.designer in SILENT:
            raise ValueError(
                f"the designer {self.designer} is asked nothing and gets no hints; choose another, "
                "or leave out hints"
            )
        if self.designer_model is not None and self.designer == "self":
            raise ValueError(
                "the designer self is the target model; leave out designer_model, or choose local"
            )
        if self.designer_model is not None and not self._models:
            raise ValueError(f"designer_model {self.designer_model!r} names no model")
        if len(set(self._models)) < len(self._models):
            raise ValueError(
                f"designer_model {self.designer_model!r} names a model twice; name each once"
            )
        if self.designer in SILENT and (self.money or self.price):
            raise ValueError(
                f"the designer {self.designer} asks nobody and costs nothing; leave out money and "
                "price"
            )
        if self.money is not None and (self.price is None or not any(_price(self.price))):
            raise ValueError(
                f"money {self.money:g} needs a price above zero: --price IN,OUT, dollars per "
                "million tokens of questions and of answers; a designer of this machine has none "
                "unless you set one"
            )
        require_used(self.runner, self.runner_address, self.workers)
        if self.sandbox == "off" and self.language != "expression":
            raise ValueError("without the sandbox only the language 'expression' is allowed")
        return self

    @property
    def share(self) -> float:
        """The share of zeros to reach."""
        return share_of(self.sparsity, self.pattern)

    @property
    def _models(self) -> list[str]:
        """Models of an endpoint; a file of a local designer may hold commas."""
        named = self.designer_model
        if named is None:
            return []
        if self.designer == "local":
            return [named]
        return [model.strip() for model in named.split(",") if model.strip()]

    def spec(self) -> "SearchSpec":
        """The library's specification of this search."""
        from autoprune.search.spec import Budget, DesignerSpec, SearchSpec
        from autoprune.spelling import split_list

        sizes = dict(PYTHON_ANSWERS) if self.language != "expression" else {}
        given = {"max_tokens": self.answer_tokens, "prompt_tokens": self.prompt_tokens}
        sizes |= {name: size for name, size in given.items() if size is not None}
        models = self._models
        designer = DesignerSpec(
            kind=self.designer,
            base_url=self.base_url,
            model=models[0] if models else None,
            also_models=tuple(models[1:]),
            temperature=self.temperature,
            hints=self.hints,
            **sizes,
        )
        seconds = None if self.minutes is None else 60.0 * self.minutes
        repairs: dict[str, Any] = {}
        if self.solver != "auto":
            named = split_list(self.solver)
            unnamed = "none" if "none" in named else named[0]
            repairs = {"solver": unnamed, "solvers": tuple(named)}
        return SearchSpec(
            model=self.model,
            corpus=self.corpus,
            sparsity=self.share,
            pattern=self.pattern,
            designer=designer,
            budget=Budget(
                candidates=self.candidates,
                tokens=self.tokens,
                seconds=seconds,
                money=self.money,
                price=None if self.price is None else _price(self.price),
            ),
            seed=self.seed,
            text_split=split_number(self.text_split),
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
        # Which split is fresh is looked up when the run starts.
        wished = self.text_split == FRESH
        tail = FRESH if wished else self.spec().digest[:8]
        return f"{slug}-s{round(100 * self.share)}-{tail}"


def _price(text: str) -> tuple[float, float]:
    asking, answering = text.split(",")
    return float(asking), float(answering)
