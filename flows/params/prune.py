"""Parameters of the prune flow."""

from typing import Literal

from pydantic import Field, model_validator

from flows.params.base import Params
from flows.params.fields import (
    DEMO_CORPUS,
    DEMO_MODEL,
    ModelRef,
    Pattern,
    Samples,
    Seed,
    Seqlen,
    Sparsity,
    share_of,
)


class PruneParams(Params):
    """Prune one model once and save it."""

    model: ModelRef = DEMO_MODEL
    metric: str = Field(
        default="wanda",
        description="Metric: a built-in name, a path to FILE.py, or 'expr:' and a formula",
    )
    allocation: str = Field(
        default="uniform",
        description=(
            "How the budget is spread over the layers, with parameters as name:key=value; auto "
            "measures several and takes the best"
        ),
    )
    sparsity: Sparsity = None
    pattern: Pattern = "unstructured"
    group: Literal["auto", "row", "matrix", "block", "global"] = Field(
        default="auto",
        description="Weights that compete with each other; auto takes the metric's own",
    )
    solver: str = Field(default="none", description="Repair of the weights that stay")
    corpus: str = Field(
        default=DEMO_CORPUS,
        description=(
            "Calibration text: a known name, hf:ORG/NAME:SPLIT#COLUMN, or a .txt, .jsonl or "
            ".parquet file"
        ),
    )
    samples: Samples = 16
    held_out: str | None = Field(
        default=None,
        description="Texts that figures will be measured on, by commas; never calibrated on",
    )
    seqlen: Seqlen = 512
    statistics: Literal["auto", "sequential", "true-sequential", "dense"] = Field(
        default="auto",
        description=(
            "sequential: each block sees the pruned blocks before it, as in the Wanda paper; "
            "true-sequential: and inside a block each step the steps before it, as in SparseGPT, "
            "in two to three times the passes; "
            "dense: one pass of the dense model, as in a search; auto: sequential where possible"
        ),
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        default="auto",
        description=(
            "Type of the weights in memory and in the saved folder; auto computes in float32 and "
            "saves in the checkpoint's type"
        ),
    )
    out: str | None = Field(
        default=None, description="Folder for the pruned model; empty: nothing is saved"
    )
    overwrite: bool = Field(
        default=False, description="Replace a saved model that lies in that folder, as a whole"
    )
    seed: Seed = 0
    stream: bool = Field(
        default=False,
        description="Prune from safetensors shards to new shards, one block in memory at a time",
    )
    dry_run: bool = Field(
        default=False, description="Only say what memory, disk and time a streamed run would take"
    )

    @model_validator(mode="after")
    def _check_together(self) -> "PruneParams":
        if self.stream and not self.dry_run and self.out is None:
            raise ValueError("a streamed model goes straight to its folder; give --out")
        if (self.stream or self.dry_run) and self.dtype != "auto":
            raise ValueError(
                f"streaming computes in float32 and keeps the type of every tensor; leave out "
                f"--dtype {self.dtype}, or --stream and --dry-run"
            )
        return self

    @property
    def share(self) -> float:
        """The share of zeros to reach."""
        return share_of(self.sparsity, self.pattern)
