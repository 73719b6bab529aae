"""Parameters of the evaluate flow: the model, the suites, and each suite's few settings."""

from typing import Any, Literal

from pydantic import Field, model_validator

from flows.params import DEMO_CORPUS, DEMO_MODEL, Params
from flows.params.fields import Dtype, TextSplit, split_number

# Settings that make no sense unless their suite, or one of their suites, is chosen.
OWN_SETTINGS = {
    "lm": ("part", "windows", "seqlen"),
    "lm or lastword or degenerate": ("corpus", "text_split"),
    "tasks": ("tasks", "task_folder", "shots"),
    "reasoning": ("generators", "problems"),
    "live": ("live_file", "cutoff"),
    "tasks or live": ("limit",),
    "cost": ("batches", "repeats"),
}

# Suites that measure on the sealed part unless another is asked for.
SEALED_SUITES = {"lastword", "degenerate"}


class EvaluateParams(Params):
    """Measure one model by one or more suites, alone or against another model."""

    model: str = Field(
        default=DEMO_MODEL,
        description="Model: hub id, folder, .gguf file or package:module/file.gguf",
    )
    suite: str = Field(
        default="lm",
        description=(
            "Suites: lm, lastword, degenerate, tasks, reasoning, live, cost, separated by commas; "
            "further settings as name:key=value"
        ),
    )
    against: str | None = Field(
        default=None,
        description="Compare, pair by pair, with this model or with the .json record of a run",
    )
    corpus: str = Field(
        default=DEMO_CORPUS,
        description=(
            "lm, lastword, degenerate: texts, separated by commas: known names, "
            "hf:ORG/NAME:SPLIT#COLUMN, or .txt, .jsonl, .parquet files"
        ),
    )
    part: Literal["all", "calibration", "selection", "sealed"] = Field(
        default="all",
        description="lm: the whole text, or one of its parts; looks at sealed text are counted",
    )
    text_split: TextSplit = 0
    windows: int = Field(
        default=100,
        ge=1,
        description=(
            "lm: windows, spread over each text, or from the start of one that papers report on"
        ),
    )
    seqlen: int = Field(default=512, ge=2, description="lm: tokens in a window")
    tasks: str | None = Field(
        default=None,
        description="tasks: names of lm-eval, groups (seven-rte, seven-piqa) or files, by commas",
    )
    task_folder: str | None = Field(
        default=None,
        description="tasks: folder with task files of one's own",
    )
    shots: int | None = Field(
        default=None,
        ge=0,
        description="tasks: examples in the prompt; empty: each task's own number",
    )
    limit: int | None = Field(
        default=None,
        ge=1,
        description="tasks, live: items (live: the newest); empty: all",
    )
    generators: str | None = Field(
        default=None,
        description="reasoning: generators by commas; empty: all",
    )
    problems: int = Field(default=50, ge=1, description="reasoning: problems per generator")
    live_file: str | None = Field(
        default=None,
        description="live: .jsonl or .parquet file of dated questions",
    )
    cutoff: str | None = Field(
        default=None,
        description="live: last day of the model's training data, such as 2024-03",
    )
    batches: str = Field(
        default="1,4,8",
        pattern=r"^\s*\d+\s*(,\s*\d+\s*)*$",
        description="cost: batch sizes to time, by commas",
    )
    repeats: int = Field(default=5, ge=1, description="cost: timed runs per batch size")
    overlap: Literal["drop", "refuse", "report"] = Field(
        default="drop",
        description="Test text that the model was calibrated on: left out, refused or reported",
    )
    references: str | None = Field(
        default=None,
        description="Further texts that the model has seen, by commas; checked like calibration",
    )
    dtype: Dtype = "float32"
    seed: int = Field(default=0, ge=0, description="Seed")

    @model_validator(mode="after")
    def _check_together(self) -> "EvaluateParams":
        chosen = {part.partition(":")[0].strip() for part in self.suite.split(",")}
        for suite, names in OWN_SETTINGS.items():
            if chosen & set(suite.split(" or ")):
                continue
            for name in names:
                default = type(self).model_fields[name].default
                if getattr(self, name) != default:
                    option = "--" + name.replace("_", "-")
                    raise ValueError(f"{option} belongs to the suite {suite}; add it to --suite")
        if self.text_split != 0 and self.part == "all" and not chosen & SEALED_SUITES:
            raise ValueError(
                f"text_split {self.text_split} names a split, and the whole text is measured on; "
                "add part, such as --part sealed, or leave text_split out"
            )
        return self

    def settings(self) -> dict[str, dict[str, Any]]:
        """Settings by suite, as the suites call them; None leaves a suite's own default."""
        text = {
            "corpora": listed(self.corpus),
            "seed": self.seed,
            "text_split": split_number(self.text_split),
        }
        found: dict[str, dict[str, Any]] = {
            "lm": text | {"part": self.part, "windows": self.windows, "seqlen": self.seqlen},
            "lastword": text,
            "degenerate": text,
            "tasks": {
                "names": listed(self.tasks),
                "folder": self.task_folder,
                "shots": self.shots,
                "limit": self.limit,
            },
            "reasoning": {
                "generators": listed(self.generators),
                "items": self.problems,
                "seed": self.seed,
            },
            "live": {
                "items": self.live_file,
                "cutoff": self.cutoff,
                "limit": self.limit,
                "seed": self.seed,
            },
            "cost": {
                "batches": [int(size) for size in self.batches.split(",")],
                "repeats": self.repeats,
                "seed": self.seed,
            },
        }
        return {
            suite: {key: value for key, value in values.items() if value not in (None, [])}
            for suite, values in found.items()
        }


def listed(text: str | None) -> list[str]:
    """The parts of a list that is written with commas."""
    return [part.strip() for part in (text or "").split(",") if part.strip()]
