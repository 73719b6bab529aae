"""Pruning presets by quality: measured data, their cost on this machine, and which fits a time.

The data are in ``quality.json``, a set for each class of machines: what a preset costs next to
another depends on how fast the products of tuning are. ``python -m benchmarks quality`` measures
the set of the machine's own class.
"""

import json
import math
import time
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from autoprune.errors import UsageError

DATA = Path(__file__).with_name("quality.json")
# How long a user is made to wait by default.
USUAL_MINUTES = 10.0


@dataclass(frozen=True)
class Preset:
    """A recipe with the size of its calibration text and its measured results.

    Args:
        name: Name of the quality.
        metric: Scores the weights.
        repair: Repair of the remaining weights.
        statistics: Whether blocks see pruned or dense blocks before them.
        windows: Number of calibration windows.
        seconds: Time to prune the model of :class:`PresetConditions`.
        recovery_seconds: Its part in recovery, which reads windows of its own.
        perplexity: Perplexity of that model afterwards.
        dense: Perplexity of the dense model on the same text.
        source: Name of that text, and where the figures come from.
    """

    name: str
    metric: str
    repair: str
    statistics: str
    windows: int
    seconds: float
    perplexity: float
    dense: float
    source: str
    recovery_seconds: float = 0.0

    @property
    def lost(self) -> float:
        """Loss in nats per token caused by pruning; presets are ranked by it."""
        return math.log(self.perplexity / self.dense)

    @property
    def recipe(self) -> str:
        """The recipe as ``autoprune compare`` writes it, without its statistics."""
        return self.metric if self.repair == "none" else f"{self.metric}+{self.repair}"


@dataclass(frozen=True)
class PresetConditions:
    """The conditions under which the presets were measured.

    Args:
        model: Reference of the model.
        parameters: Total number of its parameters.
        sparsity: Share of zeros.
        seqlen: Tokens per window.
        gflops: Speed of the machine during the measurement; see :func:`speed`.
        machine: Class of the machine, in words.
        date: Day of the last measurement.
    """

    model: str
    parameters: int
    sparsity: float
    seqlen: int
    gflops: float
    machine: str
    date: str


@dataclass(frozen=True)
class PresetChoice:
    """A preset for a model on this machine.

    Args:
        preset: The preset.
        seconds: Expected time, not counting loading and saving.
        why: Reason for the choice.
        measured: Conditions behind the expectation.
        parameters: Number of the model's parameters.
        seqlen: Tokens per window.
        windows: Number of calibration windows.
        gflops: Speed of this machine; see :func:`speed`.
    """

    preset: Preset
    seconds: float
    why: str
    measured: PresetConditions
    parameters: int
    seqlen: int
    windows: int
    gflops: float

    @property
    def options(self) -> dict[str, Any]:
        """The options of ``autoprune prune`` that it stands for, by parameter."""
        names = ("metric", "repair", "statistics")
        own = {name: getattr(self.preset, name) for name in names}
        return own | {"calibration_windows": self.windows}

    @property
    def lines(self) -> tuple[str, ...]:
        """What was chosen, why, and what it will cost."""
        preset, measured = self.preset, self.measured
        return (
            f"quality {preset.name}: {preset.recipe}, {preset.statistics} statistics, "
            f"{self.windows} x {self.seqlen} tokens ({self.why})",
            f"estimate: about {_time(self.seconds)}, within a factor of two; loading and saving "
            f"come on top ({preset.seconds:.0f} s for {measured.parameters / 1e6:,.0f} million "
            f"parameters on {measured.machine}, {measured.date}; here "
            f"{self.parameters / 1e6:,.0f} million at {self.gflops / measured.gflops:.2g} of that "
            "speed)",
            f"measured then at {measured.sparsity:.0%}: perplexity {preset.perplexity:.1f}, dense "
            f"{preset.dense:.1f}; another recipe: --repair NAME, other presets: --quality",
        )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON form, for records."""
        return {
            "quality": self.preset.name,
            "why": self.why,
            "expected_seconds": round(self.seconds, 1),
            "measured": asdict(self.preset) | asdict(self.measured),
        }


@lru_cache(maxsize=8)
def presets(products: str | None = None) -> tuple[PresetConditions, tuple[Preset, ...]]:
    """The committed data of a class of machines, from the fastest preset to the best."""
    classes = json.loads(DATA.read_text(encoding="utf-8"))["classes"]
    own = next((known for known in classes if known["products"] == products), classes[0])
    return PresetConditions(**own["measured"]), tuple(Preset(**entry) for entry in own["presets"])


def choose(
    parameters: int,
    seqlen: int,
    gflops: float,
    *,
    products: str | None = None,
    quality: str | None = None,
    minutes: float | None = None,
    windows: int | None = None,
) -> PresetChoice:
    """Choose the preset of a quality, or the best that fits a time, or the fastest if none does."""
    measured, known = presets(products)
    expected = {p.name: expect(p, measured, parameters, seqlen, gflops, windows) for p in known}
    by_name = {preset.name: preset for preset in known}

    def chosen(preset: Preset, why: str) -> PresetChoice:
        cost, count = expected[preset.name], windows or preset.windows
        return PresetChoice(preset, cost, why, measured, parameters, seqlen, count, gflops)

    if quality is not None:
        if quality not in by_name:
            raise UsageError(f"no quality {quality!r}; choose one of {', '.join(by_name)}")
        return chosen(by_name[quality], "asked for")
    limit = USUAL_MINUTES if minutes is None else minutes
    fitting = [preset for preset in known if expected[preset.name] <= 60.0 * limit]
    if fitting:
        best = min(fitting, key=lambda preset: preset.lost)
        return chosen(best, f"the best of {', '.join(by_name)} that fits {limit:g} minutes")
    first = min(known, key=lambda preset: expected[preset.name])
    return chosen(first, f"the fastest of {', '.join(by_name)}, and none fits {limit:g} minutes")


def expect(
    preset: Preset,
    measured: PresetConditions,
    parameters: int,
    seqlen: int,
    gflops: float,
    windows: int | None = None,
) -> float:
    """Expected seconds: the measured time scaled by parameters, tokens and the machine's speed."""
    own = preset.seconds - preset.recovery_seconds
    scaled = own * (windows or preset.windows) / preset.windows + preset.recovery_seconds
    size = parameters / measured.parameters * seqlen / measured.seqlen
    return scaled * size * measured.gflops / max(gflops, 1e-9)


def speed(device: str = "cpu", seconds: float = 0.2) -> float:
    """Measure GFLOP/s of float32 matrix products as large as a small block's."""
    import torch

    left = torch.full((512, 576), 0.5, device=device)
    right = torch.full((576, 1536), 0.5, device=device)
    operations = 2 * 512 * 576 * 1536
    float((left @ right)[0, 0])
    started, done = time.perf_counter(), 0
    while done == 0 or time.perf_counter() - started < seconds:
        # Reading one number synchronises with an accelerator.
        float((left @ right)[0, 0])
        done += 1
    return operations * done / (time.perf_counter() - started) / 1e9


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
