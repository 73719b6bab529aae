"""Parameters of the study flow: the matrix of models, schemes, ratios, suites and policies."""

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from flows.params import DEMO_CORPUS, DEMO_MODEL, Params
from flows.params.fields import CalibrationWindows, Dtype
from flows.params.named import check_corpora, check_suites


class StudyModel(Params):
    """One model of a study."""

    ref: str = Field(description="Hub id, folder, .gguf file or package:module/file.gguf")
    own_data: str | None = Field(
        default=None,
        description="Text like that the model was trained on, for the policy 'aligned'",
    )


class StudyParams(Params):
    """Measure every model, pruned in every way, by every suite."""

    RENAMED: ClassVar[dict[str, str]] = {"samples": "calibration_windows"}

    name: str = Field(
        default="study",
        pattern=r"^[a-z0-9][a-z0-9._-]{0,79}$",
        description="Name of the study; the same name goes on where it stopped",
    )
    models: list[StudyModel] = Field(
        default=[StudyModel(ref=DEMO_MODEL)],
        min_length=1,
        description="Models, each with text of its own where it has any",
    )
    schemes: list[str] = Field(
        default=["magnitude", "wanda"],
        min_length=1,
        description="Methods as METRIC+ALLOCATION+SOLVER, or schemes of the paper",
    )
    ratios: list[float] = Field(
        default=[0.2, 0.4, 0.6],
        min_length=1,
        description="Shares of zeros, 0 to 1",
    )
    suites: list[str] = Field(
        default=["lm:windows=20"],
        min_length=1,
        description="Suites with their settings, such as tasks:names=study-classification",
    )
    calibration: list[Literal["generic", "aligned", "self-generated"]] = Field(
        default=["generic"],
        min_length=1,
        description="generic text, text like the model's own training data, or its own samples",
    )
    generic: str = Field(
        default=DEMO_CORPUS,
        description="Text of the policy 'generic'",
    )
    calibration_windows: CalibrationWindows = 16
    seqlen: int = Field(default=512, ge=2, description="Tokens in a calibration window")
    dtype: Dtype = "float32"
    seed: int = Field(default=0, ge=0, description="Seed")

    @model_validator(mode="after")
    def _check_together(self) -> "StudyParams":
        for ratio in self.ratios:
            if not 0.0 < ratio < 1.0:
                raise ValueError(f"ratio {ratio} is not a share between 0 and 1")
        for values in (self.schemes, self.ratios, self.suites, self.calibration):
            if len(set(values)) < len(values):
                raise ValueError(f"{values} names something twice")
        return self

    def check(self) -> None:
        """See :meth:`Params.check`; a model that is not there only leaves its cells empty."""
        check_corpora(self.generic)
        for suite in self.suites:
            check_suites(suite)
