"""Presets of pruning by quality: measured data, what they cost here, and which one fits a time.

The data lie in ``quality.json``; ``python -m benchmarks quality`` measures them anew.
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
# What a person waits for who asked for nothing.
USUAL_MINUTES = 10.0


@dataclass(frozen=True)
class Preset:
    """A recipe with the size of its text, and what it was measured to give.

    Args:
        name: Of the quality.
        metric: Scores the weights.
        repair: Of the weights that stay.
        statistics: Whether blocks see pruned or dense blocks before them.
        windows: Calibration windows.
        seconds: To prune the model of :class:`Measured`.
        perplexity: Of that model afterwards.
        dense: Perplexity of the dense model on the same text.
        source: Which text that is, and where the figures come from.
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

    @property
    def lost(self) -> float:
        """Nats per token that pruning costs, by which presets are ranked."""
        return math.log(self.perplexity / self.dense)

    @property
    def recipe(self) -> str:
        """In the words of ``autoprune compare``, without its statistics."""
        return self.metric if self.repair == "none" else f"{self.metric}+{self.repair}"


@dataclass(frozen=True)
class Measured:
    """Under which conditions the presets were measured.

    Args:
        model: Reference of the model.
        parameters: All of its parameters.
        sparsity: Share of zeros.
        seqlen: Tokens of a window.
        gflops: Speed of the machine meanwhile; see :func:`speed`.
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
class Choice:
    """A preset for a model on this machine.

    Args:
        preset: The preset.
        seconds: What it is expected to take; loading and saving come on top.
        why: Why this one.
        measured: What the expectation comes from.
    """

    preset: Preset
    seconds: float
    why: str
    measured: Measured

    def to_json(self) -> dict[str, Any]:
        """Plain JSON form, for records."""
        return {
            "quality": self.preset.name,
            "why": self.why,
            "expected_seconds": round(self.seconds, 1),
            "measured": asdict(self.preset) | asdict(self.measured),
        }


@lru_cache(maxsize=1)
def presets() -> tuple[Measured, tuple[Preset, ...]]:
    """The committed data, from the fastest to the best."""
    data = json.loads(DATA.read_text(encoding="utf-8"))
    return Measured(**data["measured"]), tuple(Preset(**entry) for entry in data["presets"])


def choose(
    parameters: int,
    seqlen: int,
    gflops: float,
    *,
    quality: str | None = None,
    minutes: float | None = None,
    windows: int | None = None,
) -> Choice:
    """The preset of a quality, or the best that fits a time; the fastest where none does.

    Args:
        parameters: Of the model.
        seqlen: Tokens of a window.
        gflops: Speed of this machine; see :func:`speed`.
        quality: Name of the preset.
        minutes: Time for pruning, where no quality is named.
        windows: Calibration windows in place of the preset's.

    Raises:
        UsageError: If no preset has the name.
    """
    measured, known = presets()
    expected = {p.name: expect(p, measured, parameters, seqlen, gflops, windows) for p in known}
    by_name = {preset.name: preset for preset in known}
    if quality is not None:
        if quality not in by_name:
            raise UsageError(f"no quality {quality!r}; choose one of {', '.join(by_name)}")
        return Choice(by_name[quality], expected[quality], "asked for", measured)
    limit = USUAL_MINUTES if minutes is None else minutes
    fitting = [preset for preset in known if expected[preset.name] <= 60.0 * limit]
    if fitting:
        best = min(fitting, key=lambda preset: preset.lost)
        why = f"the best of {', '.join(by_name)} that fits {limit:g} minutes"
        return Choice(best, expected[best.name], why, measured)
    first = min(known, key=lambda preset: expected[preset.name])
    why = f"the fastest of {', '.join(by_name)}, and none fits {limit:g} minutes"
    return Choice(first, expected[first.name], why, measured)


def expect(
    preset: Preset,
    measured: Measured,
    parameters: int,
    seqlen: int,
    gflops: float,
    windows: int | None = None,
) -> float:
    """Seconds that a preset will take: as measured, by parameters, tokens and the machine's speed.

    Args:
        preset: The preset.
        measured: Its conditions.
        parameters: Of the model.
        seqlen: Tokens of a window.
        gflops: Speed of this machine.
        windows: Calibration windows in place of the preset's.
    """
    tokens = (windows or preset.windows) * seqlen / (preset.windows * measured.seqlen)
    size = parameters / measured.parameters
    return preset.seconds * tokens * size * measured.gflops / max(gflops, 1e-9)


def speed(device: str = "cpu", seconds: float = 0.2) -> float:
    """Floating point operations per nanosecond of float32 products as large as a small block's.

    Args:
        device: Where the model lies.
        seconds: How long to measure.
    """
    import torch

    left = torch.full((512, 576), 0.5, device=device)
    right = torch.full((576, 1536), 0.5, device=device)
    operations = 2 * 512 * 576 * 1536
    float((left @ right)[0, 0])
    started, done = time.perf_counter(), 0
    while done == 0 or time.perf_counter() - started < seconds:
        # Reading one number waits for an accelerator.
        float((left @ right)[0, 0])
        done += 1
    return operations * done / (time.perf_counter() - started) / 1e9
