"""Parameters of the search flow."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

from pydantic import BaseModel, model_validator

from autoprune.design.kinds import DesignerKind, require_key
from autoprune.design.mailbox import Mailbox
from autoprune.lazy import require
from autoprune.report.sealed import FRESH
from autoprune.search_settings import (
    ANSWER_TOKENS,
    PROMPT_TOKENS,
    AnswerTokens,
    BudgetSettings,
    DesignerSettings,
    Draws,
    Pattern,
    PromptTokens,
    SearchSettings,
    settle_arm,
)
from autoprune.spelling import split_list
from flows import library
from flows.params.base import Params, setting
from flows.params.fields import (
    DEMO_CORPUS,
    DEMO_MODEL,
    FILES,
    TEXT,
    USUAL_WORKERS,
    AnswerFolder,
    Device,
    ModelRef,
    RunnerAddress,
    Sparsity,
    TextSplit,
    WishedPrecision,
    Workers,
    require_used,
    share_of,
    split_number,
)
from flows.params.named import (
    check_corpora,
    check_device,
    check_methods,
    check_models,
    check_pattern,
    check_repairs,
    check_searched_scheme,
)
from flows.search.beginning import given_facts, require_beginning
from flows.search.prices import PRICES, Price, dearest, prices_by_model
from flows.search.rules import (
    require_designer_together,
    require_first_rung,
    require_prices_together,
    require_sandbox_for_code,
    require_schemes_together,
    usual_sizes,
)
from tasks.state import model_slug

if TYPE_CHECKING:
    from autoprune.budget import Budget
    from autoprune.search.spec import SearchSpec
    from tasks.run_files import RunFiles

PLACES = ("run", "wait", "base_url", "runner", "workers", "runner_address")


class SearchParams(Params, SearchSettings, DesignerSettings, BudgetSettings):
    """Search for the best way to prune one model."""

    RENAMED: ClassVar[dict[str, str]] = {
        "samples": "calibration_windows",
        "windows": "selection_windows",
        "solver": "repairs",
    }
    LATER: ClassVar[tuple[str, ...]] = (*Params.LATER, "bytes", "faster", "precision")
    FIRST: ClassVar[tuple[str, ...]] = (
        *("model", "corpus", "sparsity", "pattern", "repairs"),
        *("designer", "base_url", "designer_model", "candidates", "minutes"),
    )

    model: ModelRef = setting(DEMO_MODEL, group="what", metavar="MODEL", positional=True)
    corpus: str = setting(
        DEMO_CORPUS,
        f"Text to split into calibration, selection and sealed parts: {TEXT}",
        group="what",
        metavar="REF",
    )
    sparsity: Sparsity = setting(group="what", metavar="S")
    pattern: Pattern = setting("unstructured", group="what", metavar="N:M")
    repairs: str = setting(
        "auto",
        "Repair of the remaining weights, or several to choose from, separated by commas, such as "
        "none,mrp,ebft:epochs=2; auto: the usual ones (`autoprune ls repairs`)",
        group="what",
        metavar="LIST",
    )
    schemes: str | None = setting(
        None,
        "Search schemes, which make the model smaller, instead of recipes that leave zeros, such "
        "as depth,width,depth+width (`autoprune ls schemes`); varies their parameters, all at "
        "--sparsity as a share of the blocks' parameters, at --bytes or at --faster; repairs are "
        "none, ebft, recover and ebft+recover",
        group="what",
        metavar="LIST",
    )
    starts: tuple[str, ...] = setting(
        (),
        "Recipe METRIC+PART+... to measure with the usual starts, such as an earlier winner; its "
        "repair is added to those to choose from",
        group="what",
        metavar="RECIPE",
        repeat=True,
    )
    draws: Draws = setting(3, group="what")
    text_split: TextSplit = setting(0, group="what")
    run: str | None = setting(
        None,
        "Name of the run; if not given, made from the settings, so the same settings continue it",
        group="what",
        metavar="NAME",
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = setting(
        "auto",
        "Type of the winner's saved weights, which are measured in float32; auto: that of the "
        "checkpoint, bfloat16 for a quantised GGUF file",
        group="what",
    )
    precision: WishedPrecision = setting("auto", group="what")
    device: Device = setting(group="what", metavar="NAME")
    register_winner: bool = setting(
        True, "Log the winner's checkpoint to MLflow and register it", group="what"
    )
    designer: DesignerKind | AnswerFolder = setting(
        "auto",
        "Who writes candidates; auto: the endpoint of OPENAI_BASE_URL or OPENAI_API_KEY if set, "
        "else the local model; self: the target model, served from its GGUF file; files: a person "
        "or program that answers questions in the run's folder, or in DIR with files:DIR; none: "
        "no language model, only the search's own moves",
        group="designer",
    )
    designer_model: str | None = setting(
        None,
        "Model at the endpoint, or several, separated by commas, chosen among by what they gain; "
        "with local: a .gguf file; with files: who answers, for the record",
        group="designer",
        metavar="NAME",
    )
    wait: bool = setting(
        True,
        "Wait for answers of the designer files; without waiting, a search stops with exit code 4 "
        "while questions are open, and `autoprune resume` continues it",
        group="designer",
    )
    answer_tokens: AnswerTokens | None = setting(
        None,
        f"Token limit of one answer, reasoning included (default: {ANSWER_TOKENS}; rates by "
        "block 600; code 800; files and programs 2000); reasoning models need several thousand",
        group="designer",
    )
    prompt_tokens: PromptTokens | None = setting(
        None,
        f"Token budget of one prompt (default: {PROMPT_TOKENS}; code and rates by block 1600; the "
        "designer openai 2400, files 4000; programs 6000)",
        group="designer",
    )
    prompts: str | None = setting(
        None,
        "Folder of prompt templates that replace built-in ones of the same name",
        group="designer",
        metavar="DIR",
    )
    script: str | None = setting(
        None,
        "File of answers for the scripted designer, one JSON string per line",
        group="designer",
        metavar="FILE",
    )
    facts: str | None = setting(
        None,
        "File inspection.json of `autoprune inspect MODEL --out DIR`; prompts show its facts",
        group="designer",
        metavar="FILE",
    )
    sandbox: Literal["docker", "off"] = setting(
        "docker", "Where designed metrics run; off: formulas only, without Docker", group="designer"
    )
    minutes: float | None = setting(
        None,
        "Time limit in minutes for designing and measuring, baselines and the end included; "
        "loading, calibration and saving come on top",
        group="budget",
        unset="no limit",
        gt=0,
    )
    price: str | None = setting(
        None,
        "Dollars per million tokens of questions and of answers, such as 0.15,0.6; for several "
        "models small=0.15,0.6;large=3,15 (default on the command line, with a limit in money: "
        "AUTOPRUNE_PRICE_PROMPT and AUTOPRUNE_PRICE_ANSWER)",
        group="budget",
        metavar="[NAME=]IN,OUT",
        form="IN,OUT, such as 0.15,0.6, or several as NAME=IN,OUT;NAME=IN,OUT",
        pattern=PRICES,
    )
    runner: Literal["thread", "dask"] = setting(
        "thread",
        "Where candidates are measured; thread: in the run's own process; the outcome is the same",
        group="machines",
    )
    workers: Workers = USUAL_WORKERS
    runner_address: RunnerAddress = None

    @model_validator(mode="before")
    @classmethod
    def _settle_arm(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        # An address names its designer: an endpoint.
        usual = "auto" if values.get("base_url") is None else "openai"
        designer = usual if (given := values.get("designer", "auto")) == "auto" else given
        is_folder = isinstance(designer, str) and designer.startswith(FILES)
        arm, kind = settle_arm(values.get("arm", "auto"), "files" if is_folder else designer)
        return {**values, "arm": arm, "designer": designer if is_folder else kind}

    @model_validator(mode="after")
    def _check_together(self) -> "SearchParams":
        require_first_rung(self.rung_windows, self.selection_windows)
        if not self.repairs.strip(" ,"):
            raise ValueError(
                f"repairs {self.repairs!r} names no repair; write auto, or names such as none,mrp"
            )
        require_designer_together(self)
        require_prices_together(self)
        require_used(self.runner, self.runner_address, self.workers)
        require_schemes_together(self)
        require_sandbox_for_code(self.sandbox, self.language)
        return self

    def check(self) -> None:
        """See :meth:`Params.check`."""
        # Check now, not when a designer is asked, minutes later.
        require("openai", "optuna")
        require_key(self.designer_kind, self.base_url)
        if self.repairs != "auto":
            check_repairs(split_list(self.repairs))
        check_methods(self.starts, "dense")
        for scheme in split_list(self.schemes or ""):
            check_searched_scheme(scheme)
        given_facts(self)
        check_corpora(self.corpus)
        check_models(self.model)
        check_pattern(self.pattern, self.sparsity, self.also_sparsities)
        check_device(self.device)
        require_beginning(self)

    @property
    def designs_in(self) -> Literal["docker", "off"]:
        """Where designs run; schemes are parameters, not code."""
        return self.sandbox if self.schemes is None else "off"

    @property
    def share(self) -> float:
        """The share of zeros, or of the blocks' parameters, to reach without another budget."""
        return share_of(self.sparsity, self.pattern)

    @property
    def budget(self) -> "Budget":
        """What the model is pruned to."""
        units = {"bytes": self.bytes, "faster": self.faster}
        return library.Budget.chosen(self.share, self.pattern, units)

    @property
    def designer_kind(self) -> DesignerKind:
        """Who writes candidates, without a folder."""
        return cast(DesignerKind, "files" if self.designer.startswith(FILES) else self.designer)

    def mailbox(self, run_id: str, files: "RunFiles") -> Mailbox | None:
        """Return the folder in which the designer ``files`` is asked; None for other designers."""
        if self.designer_kind != "files":
            return None
        named = self.designer.removeprefix(FILES) if self.designer != "files" else ""
        return Mailbox(Path(named) if named else files.questions, run_id)

    @property
    def prices(self) -> dict[str, Price]:
        """Prices by model; empty where all have one."""
        return prices_by_model(self.price)

    @property
    def price_of_all(self) -> Price | None:
        """The price by which limits are kept."""
        return dearest(self.price)

    @property
    def models(self) -> list[str]:
        """Models of an endpoint; a file of a local designer may hold commas."""
        named = self.designer_model
        if named is None:
            return []
        if self.designer == "local":
            return [named]
        return [model.strip() for model in named.split(",") if model.strip()]

    def spec(self) -> "SearchSpec":
        """Build the library's specification of this search."""
        rated = "rates=" in (self.schemes or "")
        sizes = usual_sizes(self.designer_kind, self.language, rated=rated)
        given = self.model_dump(include={"answer_tokens", "prompt_tokens"}, exclude_none=True)
        models = self.models
        designer = library.DesignerSpec(
            kind=self.designer_kind,
            model=models[0] if models else None,
            also_models=tuple(models[1:]),
            **self._of(DesignerSettings),
            **sizes | given,
        )
        seconds = None if self.minutes is None else 60.0 * self.minutes
        menu: dict[str, Any] = {}
        if self.repairs != "auto":
            named = split_list(self.repairs)
            unnamed = "none" if "none" in named else named[0]
            menu = {"default_repair": unnamed, "repair_choices": tuple(named)}
        menu["schemes"] = tuple(split_list(self.schemes or ""))
        if self.starts:
            menu["starts"] = tuple(map(library.given_start, self.starts))
        settings = self._of(SearchSettings)
        menu["facts"] = tuple(given_facts(self))
        return library.SearchSpec(
            model=self.model,
            corpus=self.corpus,
            sparsity=self.share,
            pattern=self.pattern,
            designer=designer,
            budget=library.SearchBudget(
                seconds=seconds,
                price=self.price_of_all,
                prices=self.prices,
                **self._of(BudgetSettings),
            ),
            text_split=split_number(self.text_split),
            draws=self.draws,
            precision=library.settled_precision(self.precision, self.device),
            **menu,
            **settings,
        )

    def _of(self, kind: type[BaseModel]) -> dict[str, Any]:
        """Return the values of the fields that came from ``kind``."""
        return {name: getattr(self, name) for name in kind.model_fields}

    def command(self) -> str:
        """Return the shell line for the same search, without places on this machine."""
        changes: dict[str, Any] = {"designer": self.designer_kind}
        asked = self.model_copy(update=changes)
        line = asked.command_line("search", PLACES)
        # With evaluations, omitted candidates mean another number than the default.
        usual = type(self).model_fields["candidates"].default
        if self.evaluations is not None and self.candidates == usual:
            line += f" --candidates {usual}"
        return line

    @property
    def prompt_folder(self) -> Path | None:
        """The user's own templates."""
        return None if self.prompts is None else Path(self.prompts).expanduser()

    def run_id(self) -> str:
        """Return the run's name: as given, else made from the settings."""
        if self.run is not None:
            return self.run
        # The same name on every machine, and as before there was a choice.
        plain = self.model_copy(update={"precision": "float32"} if self.precision == "auto" else {})
        # A fresh split is chosen when the run starts.
        tail = FRESH if self.text_split == FRESH else plain.spec().digest[:8]
        return f"{model_slug(self.model)}-{self.budget.tag}-{tail}"
