"""Parameters of the prune flow."""

import shlex
from collections.abc import Iterable
from typing import ClassVar, Literal

from pydantic import model_validator

from autoprune.program_files import PROGRAM_PREFIX
from autoprune.quality import USUAL_MINUTES
from autoprune.search_settings import Pattern
from flows import library
from flows.params.base import Params, setting
from flows.params.fields import (
    DEMO_CORPUS,
    DEMO_MODEL,
    TEXT,
    CalibrationWindows,
    Device,
    ModelRef,
    Place,
    Seed,
    Seqlen,
    Sparsity,
    share_of,
)
from flows.params.named import (
    check_allocation,
    check_corpora,
    check_device,
    check_metric,
    check_models,
    check_pattern,
    check_repairs,
    check_scheme,
)

# Settings that decide where zeros go; a scheme makes none.
OF_ZEROS = (
    *("program", "metric", "allocation", "pattern", "group", "statistics", "stream", "dry_run"),
    *("quality", "minutes"),
)

# Settings of calibration text.
OF_TEXT = ("corpus", "calibration_windows", "held_out", "seqlen")

# Units of a scheme's budget; one of them is given.
SIZES = ("sparsity", "bytes", "faster")

USUAL_WINDOWS, USUAL_SEQLEN = 16, 512
# What a preset sets.
RECIPE = ("metric", "allocation", "group", "repair", "statistics")


class PruneParams(Params):
    """Prune one model once and save it."""

    RENAMED: ClassVar[dict[str, str]] = {"samples": "calibration_windows", "solver": "repair"}

    model: ModelRef = setting(DEMO_MODEL, metavar="MODEL", positional=True)
    quality: Literal["fast", "balanced", "best"] | None = setting(
        None,
        "Preset of recipe and calibration windows, chosen by measurement (autoprune/quality.json); "
        "prints its cost before it starts, and measures the dense and the pruned model. Without "
        f"any part of a recipe, the command uses the best that fits {USUAL_MINUTES:g} minutes",
    )
    minutes: float | None = setting(
        None, "Use the best preset that fits this many minutes", metavar="M", gt=0.0
    )
    metric: str = setting(
        "wanda",
        "Metric: built-in name (`autoprune ls metrics`), path to FILE.py, or 'expr:' and a formula",
        metavar="NAME|FILE.py|expr:...",
    )
    program: str | None = setting(
        None,
        "Program instead of a metric: path to FILE.py that defines prune_layer(W, stats, budget, "
        "params) or prune_block(block, inputs, targets, budget, params), or a built-in one (alps, "
        "dsnot, ebft, mrp, ria, robust_ebft, sparsegpt, sparsegpt_ebft, wanda); runs only in the "
        "container, and chooses and updates the weights of one matrix or block at a time",
        metavar="FILE.py|NAME",
    )
    allocation: str = setting(
        "uniform",
        "Budget per layer (`autoprune ls allocators`), with parameters as name:key=value; auto: "
        "measure several on a selection part of the text and take the best; auto:ramp+sdsa: only "
        "these and uniform; with a repair, the best and uniform are repaired and measured again",
        metavar="NAME",
    )
    scheme: str | None = setting(
        None,
        "Smaller dense model instead of zeros: depth, width, depth+width, or experts of a "
        "mixture (`autoprune ls schemes`), with parameters as depth:criterion=influence; with "
        "depth+ebft+recover:steps=100 the dense model teaches it, block by block and as a whole; "
        "--sparsity is then the share of the blocks' parameters, or of each block's experts, to "
        "remove",
        metavar="NAME",
    )
    sparsity: Sparsity = setting(metavar="S")
    bytes: float | None = setting(
        None,
        "With --scheme, instead of --sparsity: share of the bytes of the saved weights to remove, "
        "embeddings included",
        metavar="B",
        gt=0.0,
        lt=1.0,
    )
    faster: float | None = setting(
        None,
        "With --scheme, instead of --sparsity: minimum speed, in multiples of the dense model's "
        "tokens per second on this machine, as in the suite cost (batch 1); bisection finds the "
        "smallest share that reaches it",
        metavar="X",
        gt=1.0,
    )
    pattern: Pattern = setting("unstructured", metavar="N:M")
    group: Literal["auto", "row", "matrix", "block", "global"] = setting(
        "auto", "Weights that compete with each other; auto: the metric's own group"
    )
    repair: str = setting(
        "none",
        "Repair of the remaining weights (`autoprune ls repairs`); with --scheme ebft, recover or "
        "ebft+recover",
        metavar="NAME",
    )
    corpus: str = setting(
        DEMO_CORPUS,
        f"Calibration text: {TEXT}, or self-generated (samples of the model itself); read only if "
        "scores or repair need text",
        metavar="REF",
    )
    calibration_windows: CalibrationWindows | None = setting(
        None,
        f"Calibration windows (default: {USUAL_WINDOWS}, or those of the preset)",
    )
    held_out: str | None = setting(
        None,
        "Texts that figures will be measured on, separated by commas; calibration text found in "
        "them is left out",
        metavar="REF[,REF]",
    )
    seqlen: Seqlen = setting(USUAL_SEQLEN)
    statistics: Literal["auto", "sequential", "true-sequential", "dense"] = setting(
        "auto",
        "sequential: each block sees the pruned blocks before it, as in the Wanda paper; "
        "true-sequential: each step in a block (q, k, v; o; gate, up; down) also sees the steps "
        "before it, as in SparseGPT, in two to three times the passes; dense: one pass of the "
        "dense model, as in a search; auto: sequential, dense for .py metrics and the group global",
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = setting(
        "auto",
        "Type of the weights in memory and in the saved folder; auto: compute in float32, save in "
        "the checkpoint's type, bfloat16 for a quantised GGUF file",
    )
    device: Device = setting(metavar="NAME")
    out: Place | None = setting(
        None, "Folder for the pruned model (default: nothing is saved)", metavar="DIR"
    )
    overwrite: bool = setting(
        False, "Replace an existing saved model in that folder as a whole (default: refuse)"
    )
    push_to_hub: str | None = setting(
        None,
        "Send the saved folder, with card and record, to this hub repository; token and hub are "
        "checked before pruning starts",
        metavar="OWNER/NAME",
    )
    private: bool = setting(
        True,
        "Create a missing repository as private (the default), or public with --no-private",
        both=True,
    )
    seed: Seed = setting(0)
    stream: bool = setting(
        False,
        "Prune from safetensors shards to new shards, one block in memory at a time; gives the "
        "same weights as sequential statistics, and the same command continues a killed run",
    )
    dry_run: bool = setting(
        False,
        "Prune nothing; estimate memory, disk and time of a streamed run from one block",
    )

    @model_validator(mode="after")
    def _check_scheme(self) -> "PruneParams":
        units = [name for name in SIZES if getattr(self, name) is not None]
        if self.scheme is None:
            if units and units != ["sparsity"]:
                raise ValueError(
                    f"{' and '.join(units)}: zeros bring neither fewer bytes nor speed; add "
                    "--scheme depth"
                )
            return self
        if len(units) != 1:
            raise ValueError(
                f"the scheme {self.scheme} needs one budget, and {' and '.join(units) or 'none'} "
                "is given; add one of --sparsity 0.2, --bytes 0.2, --faster 1.2"
            )
        if options := self._given(OF_ZEROS):
            raise ValueError(
                f"the scheme {self.scheme} leaves a smaller dense model without zeros, so that "
                f"{options} would change nothing; leave out {options}, or --scheme and prune the "
                "smaller model afterwards"
            )
        return self

    @model_validator(mode="after")
    def _check_together(self) -> "PruneParams":
        if self.push_to_hub is not None and (self.out is None or self.dry_run):
            raise ValueError(
                f"push_to_hub {self.push_to_hub} sends the saved folder; give --out DIR, without "
                "--dry-run"
            )
        if self.overwrite and self.out is None:
            raise ValueError("overwrite replaces a saved model; give --out DIR, or leave it out")
        if not self.private and self.push_to_hub is None:
            raise ValueError(
                "no-private is for a repository that is sent to; give --push-to-hub OWNER/NAME, or "
                "leave it out"
            )
        if self.program is not None and self.metric != "wanda":
            raise ValueError("a program chooses by itself; give --program or --metric, not both")
        if self.stream and not self.dry_run and self.out is None:
            raise ValueError("a streamed model goes straight to its folder; give --out")
        if self.streams and self.dtype != "auto":
            raise ValueError(
                f"streaming computes in float32 and keeps the type of every tensor; leave out "
                f"--dtype {self.dtype}, or --stream and --dry-run"
            )
        if not self.by_preset:
            return self
        if self.quality is not None and self.minutes is not None:
            raise ValueError("quality names a preset and minutes chooses one; leave one out")
        kind = type(self)
        own = [n for n in RECIPE if getattr(self, n) != kind.model_fields[n].default]
        if own:
            raise ValueError(
                f"quality and minutes bring a recipe; leave out {', '.join(own)}, or both of them"
            )
        if self.streams:
            raise ValueError(
                "presets measure the whole model, which streaming never holds; leave out quality "
                "and minutes, or stream and dry_run"
            )
        return self

    def _given(self, names: Iterable[str]) -> str:
        """Options among these settings that differ from their default, joined by commas."""
        fields = type(self).model_fields
        given = [name for name in names if getattr(self, name) != fields[name].default]
        return ", ".join(f"--{name.replace('_', '-')}" for name in given)

    @property
    def shrinking(self) -> str:
        """The scheme with the repair that follows it, on one line."""
        return "+".join(filter(None, [self.scheme, self.repair if self.repair != "none" else ""]))

    @property
    def text_options(self) -> str:
        """Options of calibration text that were given, joined by commas."""
        return self._given(OF_TEXT)

    @property
    def by_preset(self) -> bool:
        """Whether the recipe is still to be chosen."""
        return self.quality is not None or self.minutes is not None

    @property
    def streams(self) -> bool:
        """Whether the model is read shard by shard, and never held whole."""
        return self.stream or self.dry_run

    @property
    def computed_in(self) -> str:
        """The type that the model is loaded and computed in."""
        return "float32" if self.dtype == "auto" else self.dtype

    @property
    def resumes(self) -> bool:
        """Whether the same command goes on where an interrupted one was."""
        return self.stream

    @property
    def windows(self) -> int:
        """Calibration windows."""
        return self.calibration_windows or USUAL_WINDOWS

    @property
    def measured_by(self) -> str:
        """The options of `autoprune evaluate` that measure the result, with a space in front."""
        # A model's own words calibrate and never measure.
        text = "" if library.is_generated(self.corpus) else f" --corpus {shlex.quote(self.corpus)}"
        # Of the whole text, every document is left out that calibration read from, and it reads
        # from all; of a part, only passages. And a look at the whole is one at each sealed set.
        text += " --part selection"
        if self.seqlen != USUAL_SEQLEN:
            text += f" --seqlen {self.seqlen}"
        scheme = self.scheme is not None
        against = f"{text} --suite lm,cost --against {shlex.quote(self.model)}"
        return against if scheme else text

    def check(self) -> None:
        """See :meth:`Params.check`."""
        texts = (self.corpus, *filter(None, map(str.strip, (self.held_out or "").split(","))))
        if self.out is not None and not self.dry_run:
            read = (self.program or self.metric, *texts)
            library.check_target(self.out, self.model, read, overwrite=self.overwrite)
        if self.push_to_hub is not None:
            library.check_push(self.push_to_hub)
        if self.scheme is not None:
            check_scheme(self.shrinking)
        check_metric(self.prunes_by)
        check_allocation(self.allocation)
        check_repairs([self.repair])
        check_corpora(*texts)
        check_models(self.model)
        check_pattern(self.pattern, self.sparsity)
        check_device(self.device)

    @property
    def prunes_by(self) -> str:
        """The metric, or ``program:`` and the program."""
        return self.metric if self.program is None else f"{PROGRAM_PREFIX}{self.program}"

    @property
    def share(self) -> float:
        """The share of zeros to reach."""
        return share_of(self.sparsity, self.pattern)
