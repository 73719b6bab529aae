"""Parameters of the comparison flow."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from autoprune.comparison.presets import preset
from autoprune.digest import digest_json
from autoprune.spelling import TEXT_NAME, split_list
from flows import library
from flows.params import DEMO_CORPUS, DEMO_MODEL, PATTERN, Params, Share, setting
from flows.params.fields import (
    TEXT,
    USUAL_WORKERS,
    CalibrationWindows,
    Device,
    Dtype,
    ModelRef,
    Place,
    RunnerAddress,
    Seed,
    Seqlen,
    TextSplit,
    Workers,
    require_alone,
    require_used,
)
from flows.params.named import (
    check_allocation,
    check_baselines,
    check_corpora,
    check_device,
    check_methods,
    check_metric,
    check_models,
    check_pattern,
    check_repairs,
    check_suites,
)
from tasks.state import model_slug

USUAL_DRAWS = 3
# Where the files go and what measures do not affect any figure.
PLACES = ("out", "overwrite", "record", "runner", "workers", "runner_address")
# Options added later: a comparison without them keeps its earlier name.
LATER = ("baseline", "suite", "precision", "calibration_text", "bytes", "faster")
MOST_TRIALS = 6
NofM = Annotated[str, Field(pattern=PATTERN)]


WHICH, HOW, SHOWN = "what is compared", "how it is measured", "what is shown"


class CompareParams(Params):
    """Compare pruning methods on one model, fairly, and say which to take."""

    RENAMED: ClassVar[dict[str, str]] = {
        "samples": "calibration_windows",
        "windows": "sealed_windows",
        "seeds": "draws",
        "solvers": "repairs",
        "output": "out",
    }

    model: ModelRef = setting(DEMO_MODEL, metavar="MODEL", positional=True)
    methods: str | None = setting(
        None,
        "Methods, separated by commas, each METRIC+PART+..., such as "
        "wanda,wanda+ramp,wanda+sdsa:strength=0.2+mrp,sparsegpt (default: those of the preset)",
        group=WHICH,
        metavar="LIST",
    )
    preset: Literal["quick", "alpha80", "mrp", "paper", "full"] | None = setting(
        None,
        "Named methods and budgets (default quick, if no methods are given); approximate times are "
        "for 135 million parameters on 2 cores. quick: 6 methods at 50 and 60 %, 1 draw, 10 "
        "minutes; alpha80: budgets by the spectrum at 80 %, 20 minutes; mrp: MRP's own masks at "
        "50 % and 2:4, 40 minutes; paper: 20 methods at 50, 60, 70 % and 2:4, 3 draws, tuned "
        "strengths, with published methods, the best repairs and two controls, 6 hours; full: "
        "paper and 9 more methods, including slow repairs, 10 hours",
        group=WHICH,
    )
    metrics: str | None = setting(
        None,
        "Metrics of a cross product, separated by commas",
        group=WHICH,
        metavar="LIST",
    )
    allocations: str | None = setting(
        None,
        "Allocations of the cross product (default: uniform)",
        group=WHICH,
        metavar="LIST",
    )
    repairs: str | None = setting(
        None,
        "Repairs of the cross product (default: the metric's own)",
        group=WHICH,
        metavar="LIST",
    )
    sparsity: list[Share] | None = setting(
        None,
        "Unstructured budgets as shares of zeros, such as 0.5,0.6,0.7 (default: the preset's)",
        group=WHICH,
        metavar="LIST",
    )
    pattern: list[NofM] | None = setting(
        None,
        "N:M budgets, such as 2:4,4:8 (default: the preset's, if no sparsity is given)",
        group=WHICH,
        metavar="LIST",
    )
    bytes: list[Annotated[float, Field(gt=0.0, lt=1.0)]] | None = setting(
        None,
        "Budgets of schemes as shares of the saved bytes, such as 0.1,0.25",
        group=WHICH,
        metavar="LIST",
    )
    faster: list[Annotated[float, Field(gt=1.0)]] | None = setting(
        None,
        "Budgets of schemes as multiples of the dense model's tokens per second, such as 1.2,1.5",
        group=WHICH,
        metavar="LIST",
    )
    draws: int | None = setting(
        None,
        "Calibration draws (default: the preset's, else 3)",
        group=HOW,
        ge=1,
        le=100,
    )
    tune: int | None = setting(
        None,
        "Selection trials for every allocation without a given strength (default: the preset's, "
        "else 0)",
        group=HOW,
        ge=0,
        le=MOST_TRIALS,
    )
    statistics: Literal["dense", "sequential"] = setting(
        "dense",
        "Statistics of methods that name none: dense, one pass shared by all, or sequential",
        group=WHICH,
    )
    baseline: list[str] | None = setting(
        None,
        "Method, or dense, to compare with, in columns of its own (default: wanda if it is "
        "compared, else dense)",
        group=SHOWN,
        metavar="METHOD",
        repeat=True,
    )
    suite: str | None = setting(
        None,
        "Suites that also measure every pruned model, separated by commas, as in `autoprune "
        "evaluate`; lm is the distance to the dense model on the sealed windows; "
        "tasks:names=arc_easy+boolq needs a hub (default: none)",
        group=SHOWN,
        metavar="NAME[,NAME]",
    )
    precision: Literal["auto", "float32"] = setting(
        "auto",
        "Precision of products in block tuning (ebft); auto: bfloat16 if the processor is fast "
        "with it; float32: the same figures on every processor",
        group=HOW,
    )
    corpus: str = setting(
        DEMO_CORPUS,
        f"Text to split into calibration, selection and sealed parts: {TEXT}",
        group=HOW,
        metavar="REF",
    )
    calibration_text: list[Annotated[str, Field(pattern=f"^{TEXT_NAME}=.+$")]] | None = setting(
        None,
        "Text to calibrate on, with a name of your choice, such as generic=wikipedia-sample, "
        "aligned=sft.jsonl or own=self-generated; every method that reads text is measured with "
        "each, as METHOD@NAME, on the same sealed windows, whose documents are removed from it "
        "(default: the calibration part of the corpus)",
        group=WHICH,
        metavar="NAME=REF",
        repeat=True,
    )
    calibration_windows: CalibrationWindows = setting(16, "Calibration windows per draw", group=HOW)
    seqlen: Seqlen = setting(512, group=HOW)
    selection_windows: int = setting(
        8,
        "Selection windows, for choosing strengths and the recommendation",
        group=HOW,
        ge=1,
    )
    sealed_windows: int = setting(
        100,
        "Sealed windows, for measuring the figures; all of them if the text has fewer",
        group=HOW,
        ge=1,
    )
    dtype: Dtype = setting("float32", group=HOW)
    device: Device = setting(group=HOW, metavar="NAME")
    peer: str | None = setting(
        None,
        "Python of an environment with llm-compressor, to also run its Wanda and SparseGPT",
        group=WHICH,
        metavar="PYTHON",
    )
    out: Place | None = setting(
        None,
        "Folder for tables, data and picture (default: one in the state folder)",
        group=SHOWN,
        metavar="DIR",
    )
    overwrite: bool = setting(
        False,
        "Replace tables of another comparison in that folder (default: refuse)",
        group=SHOWN,
    )
    record: str | None = setting(
        None,
        "Folder for the raw record: every cell with its loss per window, and the protocol; --from "
        "makes every table again from it, and a comparison continues from its cells, whatever "
        "machine measured them",
        group=SHOWN,
        metavar="DIR",
    )
    seed: Seed = setting(0)
    text_split: TextSplit = setting(0, group=HOW)
    runner: Literal["thread", "dask"] = setting(
        "thread",
        "Where cells are measured; thread: in the run's own process, one after the other, since "
        "all prune the same weights; dask: in several processes, each with the model; the "
        "figures are the same",
        group="machines",
    )
    workers: Workers = USUAL_WORKERS
    runner_address: RunnerAddress = None

    @model_validator(mode="after")
    def _check_together(self) -> "CompareParams":
        if self.methods is not None and self.preset is not None:
            raise ValueError("give methods or a preset, not both")
        if (self.allocations or self.repairs) and not self.metrics:
            raise ValueError("a cross product needs --metrics")
        if len(self.texts()) < len(self.calibration_text or ()):
            raise ValueError(f"{self.calibration_text} gives one name to two texts; name each")
        require_used(self.runner, self.runner_address, self.workers)
        require_alone(self.faster, self.runner, self.suite)
        return self

    def check(self) -> None:
        """See :meth:`Params.check`."""
        for metric in split_list(self.metrics or ""):
            check_metric(metric)
        for allocation in split_list(self.allocations or ""):
            check_allocation(allocation)
        check_repairs(split_list(self.repairs or ""))
        check_methods(split_list(self.methods or ""), self.statistics)
        if self.suite is not None:
            check_suites(self.suite)
        check_corpora(self.corpus)
        # A missing file costs only its own cells their figures.
        check_corpora(*self.texts().values(), files=False)
        check_models(self.model)
        for pattern in self.pattern or ():
            check_pattern(pattern)
        if self.baseline is not None:
            check_baselines(self.baseline, self.method_texts(), self.texts(), self.statistics)
        check_device(self.device)

    def method_texts(self) -> list[str]:
        """Return the texts of the methods, peers last."""
        texts = [] if self.methods is None else split_list(self.methods)
        if self.metrics:
            parts = (self.metrics, self.allocations or "", self.repairs or "")
            texts += library.crossed(*map(split_list, parts))
        if self.preset is not None or (self.methods is None and not self.metrics):
            texts = [*preset(self.preset or "quick").methods, *texts]
        if self.peer is not None:
            texts += [f"{library.PEER}:{name}" for name in library.PEER_METHODS]
        return texts

    def texts(self) -> dict[str, str]:
        """Return the calibration texts' references by name; empty: only the corpus's own part."""
        return dict(entry.split("=", 1) for entry in self.calibration_text or ())

    def budgets(self) -> tuple[list[float], list[str]]:
        """Return sparsities and patterns; those of the preset if neither is given."""
        if self.sparsity is None and self.pattern is None and not self.units():
            usual = preset(self.preset or "quick")
            return list(usual.sparsities), list(usual.patterns)
        return list(self.sparsity or ()), list(self.pattern or ())

    def units(self) -> dict[str, list[float]]:
        """Return budgets in other units, which only schemes support."""
        found = {"bytes": self.bytes, "faster": self.faster}
        return {unit: values for unit, values in found.items() if values}

    def peers(self) -> dict[str, str]:
        """Return the interpreter of each peer tool."""
        return {} if self.peer is None else {library.PEER: library.interpreter_of(self.peer)}

    def draw_count(self) -> int:
        """Return the number of calibration draws."""
        if self.draws is not None:
            return self.draws
        own = self.methods is not None or self.metrics is not None
        return preset(self.preset or "quick").seeds if self.preset or not own else USUAL_DRAWS

    def trials(self) -> int:
        """Return the number of selection trials per strength."""
        if self.tune is not None:
            return self.tune
        return preset(self.preset).tune if self.preset else 0

    def folder_name(self) -> str:
        """Return the folder's name in the state folder; equal settings give equal names."""
        # Computed as before there were runners, so that earlier comparisons keep their name.
        return f"{model_slug(self.model)}-{digest_json(self.settings() | {'output': None})[:8]}"

    def command(self) -> str:
        """Return the shell line for the same figures, without places on this machine."""
        # The peer's interpreter may be anywhere; only its presence affects what is compared.
        asked = self.model_copy(update={"peer": "PYTHON"}) if self.peer else self
        return asked.command_line("compare", PLACES)

    def settings(self) -> dict[str, Any]:
        """Return what affects the figures, as plain JSON, under the names used in records."""
        found = {name: value for name, value in self.to_json().items() if name not in PLACES}
        for name in (*LATER, *self.LATER):
            if found[name] == type(self).model_fields[name].default:
                del found[name]
        recorded = {name: earlier for earlier, name in self.RENAMED.items()}
        return {recorded.get(name, name): value for name, value in found.items()}
