"""Settings of a search: the model, the data, the designer, the budget."""

from collections.abc import Mapping
from itertools import product
from typing import Any, Literal

from pydantic import ConfigDict, Field, NonNegativeFloat, model_validator

from autoprune.allocation.selection import UNIFORM
from autoprune.bench.smaller import Shrinking
from autoprune.budget import Budget
from autoprune.candidate import SCHEME_PREFIX, Group
from autoprune.design.kinds import SILENT, DesignerKind
from autoprune.design.parsing import Language
from autoprune.design.parts import Choices, family, program_fault, repair_of
from autoprune.design.repairs import compositions
from autoprune.design.scheme_moves import family_of
from autoprune.digest import digest_json
from autoprune.names import UNSTRUCTURED, require_saved
from autoprune.schemes import build_scheme
from autoprune.search.recorded import RECORDED, Recorded
from autoprune.search.starts import BASELINES, RecipeSpec
from autoprune.search_settings import (
    ANSWER_TOKENS,
    PROMPT_TOKENS,
    USUAL_SPARSITY,
    AnswerTokens,
    Arm,
    BudgetSettings,
    DesignerSettings,
    Draws,
    Pattern,
    Precision,
    PromptTokens,
    SearchSettings,
    Share,
    SplitNumber,
    settle_arm,
    with_text_split,
)


class DesignerSpec(Recorded, DesignerSettings):
    """Settings of the designer, which writes the candidates.

    ``auto`` uses an endpoint if ``OPENAI_BASE_URL`` or ``OPENAI_API_KEY`` is set, and the local
    model otherwise. Three kinds use no LLM and are also arms: ``none``, ``genetic`` and
    ``random``. API keys are never part of a specification.
    """

    model_config = ConfigDict(hide_input_in_errors=True)

    kind: DesignerKind = "auto"
    model: str | None = None
    also_models: tuple[str, ...] = Field(
        default=(),
        description="further models of the same endpoint, chosen among by what they gain",
    )
    answer_tokens: AnswerTokens = ANSWER_TOKENS
    prompt_tokens: PromptTokens = PROMPT_TOKENS
    grammar: bool = Field(
        default=True, description="constrain answers by a grammar where the server can"
    )

    @property
    def asks(self) -> bool:
        """Whether an LLM is asked at all."""
        return self.kind not in SILENT

    @property
    def is_timed(self) -> bool:
        """Whether its answers count as search time; answers given in files may take days."""
        return self.asks and self.kind != "files"

    @model_validator(mode="after")
    def _check_models(self) -> "DesignerSpec":
        named = (self.model, *self.also_models)
        if self.also_models and (None in named or len(set(named)) < len(named)):
            raise ValueError(
                f"also_models {', '.join(self.also_models)} need a first model, and each its own "
                f"name; model is {self.model}"
            )
        return self


class SearchBudget(Recorded, BudgetSettings):
    """Limits at which a search stops.

    Baselines do not count as candidates, but their seconds do. Loading, calibration and saving the
    winner are not included.
    """

    seconds: float | None = Field(default=None, gt=0, description="sum over recorded outcomes")
    price: tuple[NonNegativeFloat, NonNegativeFloat] | None = Field(
        default=None, description="dollars per million tokens of questions and of answers"
    )
    prices: dict[str, tuple[NonNegativeFloat, NonNegativeFloat]] = Field(
        default={}, description="price by model, where they differ; price is then the highest"
    )

    @model_validator(mode="after")
    def _check_price(self) -> "SearchBudget":
        if self.prices and self.price is None:
            raise ValueError(
                f"prices of {', '.join(self.prices)} need a price for all other models"
            )
        if self.money is not None and not any(self.price or ()):
            raise ValueError(
                f"money {self.money:g} needs a price above zero: dollars per million tokens of "
                "questions and of answers; a designer of this machine has none unless you set one"
            )
        return self

    def cost(self, prompt_tokens: int, completion_tokens: int, model: str | None = None) -> float:
        """Return the cost in dollars of a question and its answer; 0 without a price."""
        asking, answering = self.prices.get(model or "", self.price or (0.0, 0.0))
        return (prompt_tokens * asking + completion_tokens * answering) / 1e6


TUNABLE: dict[str, dict[str, tuple[float, float]]] = {
    "sdsa": {"strength": (0.0, 0.5)},
    "ramp": {"half_width": (0.0, 0.3), "relax_last": (0.0, 1.0)},
    "owl": {"lam": (0.0, 0.3)},
    "dlp": {"alpha": (0.0, 0.3)},
    "alpha": {"eps": (0.0, 0.6)},
    "mrp": {"damp": (0.001, 0.1)},
    "sparsegpt": {"damp": (0.001, 0.1)},
    "ebft": {"rate": (0.003, 0.03)},
}


def _of_earlier_versions(value: Mapping[str, Any]) -> dict[str, Any]:
    """Convert fields that became an arm; see also :func:`with_text_split`."""
    found = with_text_split(value)
    if found.get("language") == "program":
        found.setdefault("rung_calibration_windows", found.get("calibration_windows"))
    found.pop("replace_duplicates", None)
    designer = dict(found.get("designer", {}))
    if designer.pop("context", "graph") == "list" and designer.get("kind") not in SILENT:
        found["arm"] = "list"
    return {**found, "designer": designer}


class SearchSpec(Recorded, SearchSettings):
    """All settings of a search, as kept on record.

    Fields that options and form share by name are inherited; the rest is derived from them.
    """

    schema_version: Literal[1] = 1
    # Never ``auto``: a record says what was run. One without it is older than the choice.
    arm: Arm = "whole"
    model: str
    corpus: str
    sparsity: Share = Field(
        default=USUAL_SPARSITY,
        description="share of zeros, not a percentage; unused with bytes or faster",
    )
    pattern: Pattern = UNSTRUCTURED
    designer: DesignerSpec = DesignerSpec()
    budget: SearchBudget = SearchBudget()
    text_split: SplitNumber = Field(default=0, description="number of the text split")
    default_repair: str = Field(
        default="none", description="repair of hand-made recipes that name none"
    )
    repair_choices: tuple[str, ...] = Field(
        default=("none", "sparsegpt", "mrp", "mrp:select=own", "walk:mrp"),
        min_length=1,
        description="repairs to choose from",
    )
    proxy: str = Field(
        default="none",
        description="repair on the first rung, in place of the recipe's own",
    )
    draws: Draws = 1
    precision: Precision = "float32"
    promote: float = Field(
        default=0.5, gt=0.0, le=1.0, description="share of a generation to promote"
    )
    repair_calls: int = Field(
        default=1, ge=0, le=2, description="calls to the designer to repair one candidate"
    )
    sentinel_every: int = Field(
        default=1,
        ge=0,
        description="generations between checks for drift, the last before the seal; 0: never",
    )
    statistics: tuple[str, ...] = Field(
        default=("x_norm", "x_mean", "x_var", "x_max"),
        description="values besides W that formulas may use; they must be collected",
    )
    groups: tuple[Group, ...] = ("row", "matrix")
    allocations: tuple[str, ...] = Field(
        default=(UNIFORM, "ramp", "sdsa", "formula"), description="families to choose from"
    )
    tunable: dict[str, dict[str, tuple[float, float]]] = Field(
        default=TUNABLE, description="ranges of parameters that may be tuned"
    )
    baselines: tuple[RecipeSpec, ...] = BASELINES
    starts: tuple[RecipeSpec, ...] = Field(
        default=(), description="recipes given to this search, besides the baselines"
    )
    facts: tuple[str, ...] = Field(
        default=(), description="sentences about the model that prompts may show"
    )
    reference: str = Field(
        default="wanda", description="baseline metric that changes are measured against"
    )
    schemes: tuple[str, ...] = Field(
        default=(),
        description="schemes that make the model smaller, searched instead of metrics: their "
        "families may be proposed, they are the starts, and the first is the reference",
    )

    @model_validator(mode="before")
    @classmethod
    def _settle_arm(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        given = values.get("designer", {})
        designer = given.model_dump() if isinstance(given, DesignerSpec) else given
        if not isinstance(designer, Mapping):
            return values
        arm, kind = settle_arm(values.get("arm", "whole"), designer.get("kind", "auto"))
        return {**values, "arm": arm, "designer": {**designer, "kind": kind}}

    @model_validator(mode="before")
    @classmethod
    def _settle_schemes(cls, values: Any) -> Any:
        if not isinstance(values, Mapping) or not values.get("schemes"):
            return values
        made = [build_scheme(text) for text in values["schemes"]]
        for one in made:
            require_saved(family_of(one))
        texts = [one.text for one in made]
        starts = tuple({"metric": f"{SCHEME_PREFIX}{text}"} for text in texts)
        usual = {"solvers": ("none",), "groups": ("row",), "allocations": (UNIFORM,)}
        given = {RECORDED.get(name, name): value for name, value in values.items()}
        return usual | {**given, "schemes": texts, "baselines": starts, "reference": texts[0]}

    @model_validator(mode="after")
    def _check_schemes(self) -> "SearchSpec":
        kinds = {made.metric.startswith(SCHEME_PREFIX) for made in (*self.baselines, *self.starts)}
        if len(kinds) > 1:
            raise ValueError(
                "a search is of schemes or of recipes, since they have no budget in common; give "
                "starts of the one kind"
            )
        if self.schemes and (self.pattern != UNSTRUCTURED or self.groups != ("row",)):
            raise ValueError(
                f"schemes leave no zeros and no weights compete: pattern {self.pattern}, groups "
                f"{', '.join(self.groups)}; leave both out"
            )
        named = (*self.repair_choices, self.default_repair, self.proxy)
        repairs = [repair_of(text) for text in named]
        for scheme, repair in product(map(build_scheme, self.schemes), repairs):
            # Refuses repairs that do not fit.
            Shrinking(scheme, repair)
        if not self.schemes and self.target.unit != "sparsity":
            raise ValueError(
                f"{self.target.goal}: zeros bring neither fewer bytes nor speed; give schemes, or "
                "a share of zeros"
            )
        return self

    @property
    def target(self) -> Budget:
        """What every recipe is brought to."""
        units = {unit: getattr(self, unit) for unit in Budget.OF_SCHEMES}
        return Budget.chosen(self.sparsity, self.pattern, units)

    @property
    def size(self) -> dict[str, float]:
        """The same as a number, by its unit."""
        unit = self.target.unit
        return {unit: getattr(self, unit)}

    @property
    def written(self) -> Language:
        """Language that the designer writes."""
        return "scheme" if self.schemes else self.language

    @model_validator(mode="after")
    def _check_repairs(self) -> "SearchSpec":
        if not self.choices.repairs:
            raise ValueError(
                f"repairs {', '.join(self.repairs)}: programs move the weights themselves, so that "
                "none of these is left; add none, or ebft"
            )
        return self

    @property
    def readable(self) -> tuple[str, ...]:
        """Values besides W that designed metrics may read."""
        return (*self.statistics, *(name for name in self.values if name not in self.statistics))

    @property
    def choices(self) -> Choices:
        """Allowed parts of a recipe; N:M fixes layer budgets and which weights compete."""
        free = self.pattern == UNSTRUCTURED
        repairs = self.repairs
        if self.language == "program":
            repairs = tuple(text for text in repairs if not program_fault(self.groups[0], text))
        return Choices(
            groups=self.groups if free else ("row",),
            allocations=self.allocations if free else (UNIFORM,),
            repairs=repairs,
            ranges=self.tunable,
            statistics=self.readable,
            compositions=tuple(compositions(repairs)),
            schemes=tuple(dict.fromkeys(family_of(build_scheme(s)) for s in self.schemes)),
        )

    @property
    def repairs(self) -> tuple[str, ...]:
        """All repairs of this search, those of starts included."""
        given = [made.repair for made in self.starts if made.repair is not None]
        return tuple(dict.fromkeys((self.default_repair, *self.repair_choices, *given)))

    def left_out(self, made: RecipeSpec) -> str:
        """Why the search does not measure a hand-made recipe; empty if it does."""
        if made.repair is not None and family(made.repair) not in map(family, self.repairs):
            return f"the repair {made.repair} is not one of this search's repairs"
        if self.pattern != UNSTRUCTURED and made.allocation != UNIFORM:
            return f"{self.pattern} fixes the share of each layer, not {made.allocation}"
        return ""

    def hand_made(self) -> list[RecipeSpec]:
        """Return the baselines and starts whose parts and repairs this search allows."""
        known = [made.recipe(self.default_repair) for made in self.baselines]
        new = [made for made in self.starts if made.recipe(self.default_repair) not in known]
        return [made for made in (*self.baselines, *new) if not self.left_out(made)]

    @property
    def digest(self) -> str:
        """SHA-256 of every field."""
        return digest_json(self.to_json())

    def to_json(self) -> dict[str, Any]:
        """Plain JSON form; :meth:`recorded` reads it back."""
        body = self.model_dump(mode="json", by_alias=True)
        if not self.budget.prices:
            # Records and run names from before this field existed do not have it.
            del body["budget"]["prices"]
        # Omitted if nothing was given, so that digests on record stay the same.
        for made in (*body["baselines"], *body["starts"]):
            if not made["source"]:
                del made["source"]
        unset: dict[str, Any] = {
            "values": [],
            "starts": [],
            "program_seconds": None,
            "bytes": None,
            "faster": None,
            "precision": "float32",
        }
        for name, nothing in {**unset, "facts": [], "schemes": []}.items():
            if body[name] == nothing:
                del body[name]
        if self.target.unit != "sparsity":
            del body["sparsity"]
        # Omitted where all windows are read, as in records from before this field existed.
        if self.language != "program" or self.first_calibration == self.calibration_windows:
            del body["rung_calibration_windows"]
        return body

    @classmethod
    def recorded(cls, value: Mapping[str, Any]) -> "SearchSpec":
        """Inverse of :meth:`to_json`; also reads records of earlier versions."""
        return cls.model_validate(_of_earlier_versions(value))
