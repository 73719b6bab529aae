"""Tasks behind ``--quality`` and ``--minutes``: the preset for a model, and its result."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autoprune.pruning import products_class
from autoprune.quality import choose, speed
from tasks.recorded import task_run
from tasks.workbench import Workbench


@dataclass(frozen=True)
class ChosenPreset:
    """The preset for a model on this machine.

    Args:
        choice: For the record.
        fields: Parameters that it sets.
        lines: What was chosen, why, and what it will cost.
    """

    choice: Mapping[str, Any]
    fields: Mapping[str, Any]
    lines: tuple[str, ...]


@task_run("choose quality", "choose a preset for {model}")
def choose_preset(
    bench: Workbench,
    model: str,
    seqlen: int,
    quality: str | None,
    minutes: float | None,
    windows: int | None,
) -> ChosenPreset:
    """Choose the preset for the workbench's model on this machine, as it is now.

    Args:
        bench: An open workbench.
        model: Its reference, for the task's name.
        seqlen: Tokens in a window.
        quality: Name of the preset; None: the best that fits.
        minutes: Time for pruning, if no quality is named.
        windows: Calibration windows in place of the preset's.
    """
    loaded = bench.loaded.model
    parameters = loaded.num_parameters()
    gflops = speed(loaded.device.type)
    found = choose(
        parameters, seqlen, gflops, products=products_class(loaded.device.type),
        quality=quality, minutes=minutes, windows=windows,
    )  # fmt: skip
    preset, measured = found.preset, found.measured
    count = windows or preset.windows
    lines = (
        f"quality {preset.name}: {preset.recipe}, {preset.statistics} statistics, "
        f"{count} x {seqlen} tokens ({found.why})",
        f"estimate: about {_time(found.seconds)}, within a factor of two; loading and saving come "
        f"on top ({preset.seconds:.0f} s for {measured.parameters / 1e6:,.0f} million parameters "
        f"on {measured.machine}, {measured.date}; here {parameters / 1e6:,.0f} million at "
        f"{gflops / measured.gflops:.2g} of that speed)",
        f"measured then at {measured.sparsity:.0%}: perplexity {preset.perplexity:.1f}, dense "
        f"{preset.dense:.1f}; another recipe: --repair NAME, other presets: --quality",
    )
    chosen = {
        "metric": preset.metric,
        "repair": preset.repair,
        "statistics": preset.statistics,
        "calibration_windows": count,
    }
    return ChosenPreset(found.to_json(), chosen, lines)


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
