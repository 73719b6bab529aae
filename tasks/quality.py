"""The task behind ``--quality`` and ``--minutes``: the preset for a model."""

from autoprune.pruning import products_class
from autoprune.quality import PresetChoice, choose, speed
from tasks.recorded import task_run
from tasks.workbench import Workbench


@task_run("choose quality", "choose a preset for {model}")
def choose_preset(
    bench: Workbench,
    model: str,
    seqlen: int,
    quality: str | None,
    minutes: float | None,
    windows: int | None,
) -> PresetChoice:
    """Choose the preset for the workbench's model on this machine, as it is now."""
    loaded = bench.loaded.model
    device = loaded.device.type
    return choose(
        loaded.num_parameters(), seqlen, speed(device), products=products_class(device),
        quality=quality, minutes=minutes, windows=windows,
    )  # fmt: skip
