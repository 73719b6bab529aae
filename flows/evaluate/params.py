"""Parameters of the evaluate flow: the model, the suites, and each suite's few settings."""

import re
from typing import Any, ClassVar, Literal

from pydantic import model_validator

from autoprune.models.record import made_record
from flows.params import DEMO_CORPUS, DEMO_MODEL, Params, setting
from flows.params.fields import (
    TEXT,
    Device,
    Dtype,
    ModelRef,
    Seed,
    Seqlen,
    TextSplit,
    listed,
    split_number,
    suite_names,
)
from flows.params.named import check_corpora, check_device, check_models, check_suites

# Settings that make no sense unless their suite, or one of their suites, is chosen.
OWN_SETTINGS = {
    "lm": ("part", "measured_windows", "seqlen"),
    "lm or lastword or degenerate": ("corpus", "text_split"),
    "tasks": ("tasks", "task_folder", "shots"),
    "reasoning": ("generators", "problems"),
    "live": ("live_file", "cutoff"),
    "tasks or live": ("limit",),
    "cost": ("batches", "repeats"),
}

# Suites that measure on the sealed part unless another is asked for.
SEALED_SUITES = {"lastword", "degenerate"}
# The part that a suite names among its own settings.
_PART = re.compile(r"[:,]\s*part\s*=\s*(\w+)")

LM = "suite lm (--corpus, --text-split: lastword and degenerate too)"


class EvaluateParams(Params):
    """Measure one model by one or more suites, alone or against another model."""

    RENAMED: ClassVar[dict[str, str]] = {"windows": "measured_windows"}
    RECORDED_AS: ClassVar[dict[str, str]] = {"measured_windows": "windows"}

    model: ModelRef = setting(DEMO_MODEL, metavar="MODEL", positional=True)
    suite: str = setting(
        "lm",
        "Suites (`autoprune ls suites`), separated by commas: lm, lastword, degenerate, tasks, "
        "reasoning, live, steps, code, cost; further settings as name:key=value",
        metavar="NAME[,NAME]",
    )
    against: str | None = setting(
        None,
        "Model, or .json record of a run, to compare with pair by pair",
        metavar="MODEL|FILE.json",
    )
    corpus: str = setting(
        DEMO_CORPUS,
        f"Texts, separated by commas: {TEXT}; papers report on wikitext2, c4-validation and ptb",
        group=LM,
        metavar="REF[,REF]",
    )
    part: Literal["all", "calibration", "selection", "sealed"] = setting(
        "all",
        "Part of the text to measure on; looks at sealed text are counted",
        group=LM,
    )
    text_split: TextSplit = setting(0, group=LM)
    measured_windows: int = setting(
        100,
        "Windows of that part, spread over each text; the first ones of a whole text that papers "
        "report on",
        group=LM,
        ge=1,
    )
    seqlen: Seqlen = setting(512, group=LM)
    tasks: str | None = setting(
        None,
        "lm-eval names, groups (seven-rte, seven-piqa, study-classification, study-generation, "
        "study-reasoning) or files, separated by commas",
        group="suite tasks",
        metavar="NAME[,NAME]",
    )
    task_folder: str | None = setting(
        None,
        "Folder with your own task files",
        group="suite tasks",
        metavar="DIR",
    )
    shots: int | None = setting(
        None,
        "Examples in the prompt (default: each task's own number)",
        group="suite tasks",
        ge=0,
    )
    limit: int | None = setting(
        None,
        "Maximum items of tasks and live, of live the newest (default: all)",
        group="suite tasks",
        ge=1,
    )
    generators: str | None = setting(
        None,
        "Generators, separated by commas (default: all)",
        group="suite reasoning",
        metavar="NAME[,NAME]",
    )
    problems: int = setting(50, "Problems per generator", group="suite reasoning", ge=1)
    live_file: str | None = setting(
        None,
        ".jsonl or .parquet file of dated questions, or folder of windows, of which the newest is "
        "used",
        group="suite live",
        metavar="PATH",
    )
    cutoff: str | None = setting(
        None,
        "Last day of the model's training data, such as 2024-03",
        group="suite live",
        metavar="DATE",
    )
    batches: str = setting(
        "1,4,8",
        "Batch sizes to time, separated by commas",
        group="suite cost",
        metavar="N[,N]",
        pattern=r"^\s*\d+\s*(,\s*\d+\s*)*$",
        form="numbers separated by commas, such as 1,8",
    )
    repeats: int = setting(5, "Timed runs per batch size", group="suite cost", ge=1)
    overlap: Literal["drop", "refuse", "report"] = setting(
        "drop",
        "Drop, refuse or only report test text that the model was calibrated on",
        group="hygiene",
    )
    references: str | None = setting(
        None,
        "Other texts that the model has seen, separated by commas; checked like calibration text",
        group="hygiene",
        metavar="REF[,REF]",
    )
    card: bool = setting(
        False,
        "Also write the figures into README.md of MODEL, a folder that autoprune saved; those of "
        "other suites stay there",
    )
    dtype: Dtype = setting("float32")
    device: Device = setting(metavar="NAME")
    seed: Seed = setting(0)

    @model_validator(mode="after")
    def _check_together(self) -> "EvaluateParams":
        chosen = set(suite_names(self.suite))
        for suite, names in OWN_SETTINGS.items():
            if chosen & set(suite.split(" or ")):
                continue
            for name in names:
                default = type(self).model_fields[name].default
                if getattr(self, name) != default:
                    option = "--" + name.replace("_", "-")
                    raise ValueError(f"{option} belongs to the suite {suite}; add it to --suite")
        parts = set(_PART.findall(self.suite)) or {self.part}
        if self.text_split != 0 and parts == {"all"} and not chosen & SEALED_SUITES:
            raise ValueError(
                f"text_split {self.text_split} names a split, but the whole text is measured; "
                "add part, such as --part sealed, or leave text_split out"
            )
        return self

    def check(self) -> None:
        """See :meth:`Params.check`."""
        check_suites(self.suite)
        check_corpora(*listed(self.corpus), *listed(self.references))
        other = self.against
        check_models(self.model, *([other] if other and not other.endswith(".json") else []))
        if self.card:
            made_record(self.model)
        check_device(self.device)

    def recorded(self) -> dict[str, Any]:
        """See :meth:`Params.recorded`; where figures are written does not change them."""
        return {name: value for name, value in super().recorded().items() if name != "card"}

    def settings(self) -> dict[str, dict[str, Any]]:
        """Return settings by suite under the suites' names; None leaves a suite's own default."""
        text = {
            "corpora": listed(self.corpus),
            "seed": self.seed,
            "text_split": split_number(self.text_split),
        }
        found: dict[str, dict[str, Any]] = {
            "lm": text
            | {"part": self.part, "windows": self.measured_windows, "seqlen": self.seqlen},
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
            "steps": {"seed": self.seed},
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
