"""Parameters of the comparison flow."""

import shlex
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from autoprune.digest import digest_json
from flows.params import DEMO_CORPUS, DEMO_MODEL, PATTERN, Params, Share
from flows.params.fields import (
    USUAL_WORKERS,
    Dtype,
    RunnerAddress,
    SharedStore,
    TextSplit,
    Workers,
    require_used,
)
from tasks.state import model_slug

USUAL_SEEDS = 3
# Where the files go and who measures decide no figure.
PLACES = ("output", "overwrite", "record", "runner", "workers", "runner_address", "shared_store")
# Options that came later: a comparison without them keeps the name that it had before.
LATER = ("baseline", "suite", "precision")
MOST_TRIALS = 6
NofM = Annotated[str, Field(pattern=PATTERN)]


class CompareParams(Params):
    """Compare pruning methods on one model, fairly, and say which to take."""

    model: str = Field(
        default=DEMO_MODEL,
        description="Model: hub id, folder, .gguf file or package:module/file.gguf",
    )
    methods: str | None = Field(
        default=None,
        description=(
            "Methods with commas between, each METRIC+PART+..., for example "
            "wanda,wanda+ramp,wanda+sdsa+mrp; empty: those of the preset"
        ),
    )
    preset: Literal["quick", "paper", "full"] | None = Field(
        default=None,
        description=(
            "Methods and budgets by name, minutes (quick), hours (paper) or a night (full) for a "
            "small model on 2 cores; empty, and no methods: quick"
        ),
    )
    metrics: str | None = Field(
        default=None,
        description="Metrics of a cross product, with commas between",
    )
    allocations: str | None = Field(
        default=None,
        description="Allocations of the cross product; empty: uniform",
    )
    solvers: str | None = Field(
        default=None,
        description="Solvers of the cross product; empty: the metric's own",
    )
    sparsity: list[Share] | None = Field(
        default=None,
        description="Unstructured budgets, shares of zeros, 0 to 1; empty: the preset's",
    )
    pattern: list[NofM] | None = Field(
        default=None,
        description="N:M budgets, such as 2:4; empty: the preset's where no sparsity is given",
    )
    seeds: int | None = Field(
        default=None,
        ge=1,
        le=100,
        description="Calibration draws; empty: the preset's, else 3",
    )
    tune: int | None = Field(
        default=None,
        ge=0,
        le=MOST_TRIALS,
        description="Selection trials for every allocator's strength; empty: the preset's, else 0",
    )
    statistics: Literal["dense", "sequential"] = Field(
        default="dense",
        description="What holds for methods that name neither dense nor sequential",
    )
    baseline: list[str] | None = Field(
        default=None,
        description=(
            "Methods, or dense, that changes are against, each with columns of its own; empty: "
            "wanda where it is compared, else dense"
        ),
    )
    suite: str | None = Field(
        default=None,
        description=(
            "Suites that measure every pruned model too, with commas between, such as "
            "lm,reasoning: lm is the distance to the dense model; empty: none"
        ),
    )
    precision: Literal["auto", "float32"] = Field(
        default="auto",
        description=(
            "Products of block tuning (ebft): auto rounds them to bfloat16 where the processor is "
            "fast with it; float32: the same figures on every processor"
        ),
    )
    corpus: str = Field(
        default=DEMO_CORPUS,
        description="Text, split into calibration, selection and sealed parts",
    )
    samples: int = Field(default=16, ge=1, description="Calibration windows of a draw")
    seqlen: int = Field(default=512, ge=2, description="Tokens in a window")
    selection_windows: int = Field(
        default=8,
        ge=1,
        description="Selection windows, which choose strengths and the recommendation",
    )
    windows: int = Field(
        default=100,
        ge=1,
        description=(
            "Sealed windows, which the figures are measured on; all where the text has fewer"
        ),
    )
    dtype: Dtype = "float32"
    peer: str | None = Field(
        default=None,
        description=(
            "Also run llm-compressor's Wanda and SparseGPT: the Python of its environment"
        ),
    )
    output: str | None = Field(
        default=None,
        description="Folder for tables and picture; empty: one in the state folder",
    )
    overwrite: bool = Field(
        default=False, description="Replace tables of another comparison that lie in that folder"
    )
    record: str | None = Field(
        default=None,
        description=(
            "Folder for the raw record: every cell with its loss per window, and the protocol; a "
            "comparison goes on from the cells that lie there"
        ),
    )
    seed: int = Field(default=0, ge=0, description="Seed of the calibration draws")
    text_split: TextSplit = 0
    runner: Literal["thread", "dask", "ray"] = Field(
        default="thread",
        description=(
            "Where cells are measured; thread: in the run's own process, one after the other; "
            "figures are the same"
        ),
    )
    workers: Workers = USUAL_WORKERS
    runner_address: RunnerAddress = None
    shared_store: SharedStore = None

    @model_validator(mode="after")
    def _check_together(self) -> "CompareParams":
        if self.methods is not None and self.preset is not None:
            raise ValueError("give methods or a preset, not both")
        if (self.allocations or self.solvers) and not self.metrics:
            raise ValueError("a cross product needs --metrics")
        require_used(self.runner, self.runner_address, self.workers)
        return self

    def method_texts(self) -> list[str]:
        """Texts of the methods, peers last."""
        from autoprune.comparison.methods import PEER, PEER_METHODS, crossed
        from autoprune.comparison.presets import preset
        from autoprune.spelling import split_list

        texts = [] if self.methods is None else split_list(self.methods)
        if self.metrics:
            parts = (self.metrics, self.allocations or "", self.solvers or "")
            texts += crossed(*map(split_list, parts))
        if self.preset is not None or (self.methods is None and not self.metrics):
            texts = [*preset(self.preset or "quick").methods, *texts]
        if self.peer is not None:
            texts += [f"{PEER}:{name}" for name in PEER_METHODS]
        return texts

    def budgets(self) -> tuple[list[float], list[str]]:
        """Sparsities and patterns; those of the preset where neither is given."""
        from autoprune.comparison.presets import preset

        if self.sparsity is None and self.pattern is None:
            usual = preset(self.preset or "quick")
            return list(usual.sparsities), list(usual.patterns)
        return list(self.sparsity or ()), list(self.pattern or ())

    def peers(self) -> dict[str, str]:
        """Interpreter by peer tool."""
        from autoprune.comparison.methods import PEER
        from autoprune.comparison.peer import interpreter_of

        return {} if self.peer is None else {PEER: interpreter_of(self.peer)}

    def draws(self) -> int:
        """Calibration draws."""
        from autoprune.comparison.presets import preset

        if self.seeds is not None:
            return self.seeds
        own = self.methods is not None or self.metrics is not None
        return preset(self.preset or "quick").seeds if self.preset or not own else USUAL_SEEDS

    def trials(self) -> int:
        """Selection trials per strength."""
        from autoprune.comparison.presets import preset

        if self.tune is not None:
            return self.tune
        return preset(self.preset).tune if self.preset else 0

    def folder_name(self) -> str:
        """Name of the folder in the state folder; the same settings give the same."""
        # The name of comparisons that were made before there were runners.
        return f"{model_slug(self.model)}-{digest_json(self.settings() | {'output': None})[:8]}"

    def command(self) -> str:
        """The shell line that asks for the same figures; without places of this machine."""
        words = ["autoprune", "compare", self.model]
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if name == "model" or name in PLACES or value == field.default:
                continue
            option = f"--{name.replace('_', '-')}"
            if name == "baseline":
                words += [word for method in value for word in (option, method)]
                continue
            text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
            words += [option, text]
        return shlex.join(words)

    def settings(self) -> dict[str, Any]:
        """What decides about figures, as plain JSON."""
        found = {name: value for name, value in self.to_json().items() if name not in PLACES}
        for name in LATER:
            if found[name] == type(self).model_fields[name].default:
                del found[name]
        return found
