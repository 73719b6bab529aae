"""Fields that several flows share, each with its unit and bounds in one place."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from autoprune.errors import UsageError
from autoprune.names import DEMO_MODEL as DEMO_MODEL
from autoprune.names import HUB_FORM
from autoprune.search_settings import USUAL_SPARSITY, Precision, Share, SplitNumber
from flows import library

DEMO_CORPUS = "wikipedia-sample"

ModelRef = Annotated[
    str, Field(description="Model: hub id, folder, .gguf file or package:module/file.gguf")
]
TEXT = f"a name (`autoprune ls corpora`), {HUB_FORM}, or a .txt, .json, .jsonl or .parquet file"
Sparsity = Annotated[
    Share | None,
    Field(
        description=(
            f"Share of weights set to zero, 0 ≤ s < 1 (default: {USUAL_SPARSITY}, or the share "
            "that the pattern sets)"
        )
    ),
]
Dtype = Annotated[
    Literal["float32", "bfloat16", "float16"], Field(description="Type of the weights in memory")
]
Device = Annotated[
    str | None,
    Field(
        description=(
            "Device of torch to compute on, such as cpu or cuda:1 (default: AUTOPRUNE_DEVICE, else "
            "the accelerator where there is one)"
        )
    ),
]
WishedPrecision = Annotated[
    Literal["auto", Precision],
    Field(
        description=(
            "Precision of matrix products on selection text; auto: bfloat16 if the processor is "
            "fast with it, else float32; sealed text is measured in float32 in any case"
        )
    ),
]
CalibrationWindows = Annotated[int, Field(ge=1, description="Calibration windows")]
Seqlen = Annotated[int, Field(ge=2, description="Tokens per window")]
Seed = Annotated[int, Field(ge=0, description="Seed")]
TextSplit = Annotated[
    SplitNumber | Literal["fresh"],
    Field(
        description=(
            "Number of the text split and of its sealed set; fresh: the lowest number whose sealed "
            "set nobody has looked at (`autoprune ls sealed`)"
        )
    ),
]
FILES = "files:"
# With a path that is valid from any other folder.
AnswerFolder = Annotated[
    str,
    Field(pattern=r"^files:.+$", examples=["files:DIR"]),
    AfterValidator(lambda text: f"{FILES}{Path(text.removeprefix(FILES)).expanduser().absolute()}"),
]
# A folder or file of this machine; ~ is the home folder also where no shell has read it.
Place = Annotated[str, AfterValidator(lambda text: str(Path(text).expanduser()))]
USUAL_WORKERS = 2
Workers = Annotated[
    int,
    Field(
        ge=1,
        description="Worker processes of dask on this machine; each holds the model",
        json_schema_extra={"group": "machines"},
    ),
]


def share_of(sparsity: float | None, pattern: str) -> float:
    """Return the share of zeros to reach, from whichever of the two was given."""
    if sparsity is not None:
        return sparsity
    found = library.parse_pattern(pattern)
    return USUAL_SPARSITY if found is None else found.share


RunnerAddress = Annotated[
    str | None,
    Field(
        description="Address of a Dask cluster (default: start one on this machine)",
        # Prefect and records keep it, so it may hold no login.
        pattern="^[^@]*$",
        json_schema_extra={"group": "machines", "metavar": "URL"},
    ),
]


def split_number(chosen: int | str) -> int:
    """Return the number of a split that has been chosen."""
    if isinstance(chosen, int):
        return chosen
    raise UsageError(
        f"the text split {chosen!r} is looked up when a run starts; give its number instead"
    )


def require_used(runner: str, address: str | None, workers: int) -> None:
    """Refuse the settings of a cluster that is not used."""
    if runner == "thread" and (address or workers != USUAL_WORKERS):
        raise ValueError(
            "workers and runner_address are of the runner dask; choose it, or leave both out"
        )


def suite_names(text: str | None) -> list[str]:
    """Names of the suites in a list such as ``lm,tasks:names=boolq,limit=100``."""
    heads = (part.strip().partition(":")[0] for part in (text or "").split(","))
    # `limit=100` is a setting of the suite before it.
    return [head for head in heads if head and "=" not in head]


def require_alone(
    faster: float | Sequence[float] | None, runner: str, suites: str | None = None
) -> None:
    """Refuse to time models while workers keep the machine busy."""
    if "cost" in suite_names(suites) and runner != "thread":
        raise ValueError(
            f"the suite cost times models on this machine, and workers of {runner} would share "
            "it; leave out runner, or cost"
        )
    if faster and runner != "thread":
        values = [faster] if isinstance(faster, float) else faster
        raise ValueError(
            f"faster {','.join(f'{value:g}' for value in values)} is timed on this machine, and "
            f"workers of {runner} would share it; leave out runner, or take --bytes"
        )


def listed(text: str | None) -> list[str]:
    """Split a comma-separated list."""
    return [part.strip() for part in (text or "").split(",") if part.strip()]
