"""Suite ``cost``: size of the written files, measured speed and measured memory."""

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from autoprune.checkpoint.compact import require_equal, write_compact
from autoprune.errors import AutopruneError, UnknownNameError, UsageError
from autoprune.evaluation.intervals import Interval, bootstrap_median
from autoprune.evaluation.suites.cleaning import NO_RESOURCES, Resources
from autoprune.evaluation.suites.comparison import LEAST_RUNS
from autoprune.evaluation.suites.latency import (
    NEW,
    PROMPT,
    REPEATS,
    Timing,
    peaks_alone,
    prompt_ids,
    require_room,
    time_once,
)
from autoprune.evaluation.suites.llama_cpp_cost import llama_cpp_rows
from autoprune.evaluation.suites.provenance import (
    model_protocol,
    model_provenance,
)
from autoprune.evaluation.suites.rows import PASSING, RUNS, Row, RowContext
from autoprune.evaluation.suites.suite import SUITES
from autoprune.masking.packed import PackedMask, pack_mask
from autoprune.models.gguf_types import FILE_TYPES
from autoprune.models.loading import LoadedModel
from autoprune.models.saving import SavedModel, save_model
from autoprune.models.structure import PrunableLinear, prunable_linears
from autoprune.numerics import hardware, package_version
from autoprune.progress import Progress, Report, silent

VERSION = 2
NOT_REPORTED = "this system does not report it"
# A difference in speed below this share is negligible, however certain it is.
_WORTH = 0.05
# An interval wider than this share of its figure says more about other load on the machine than
# about the model.
_STEADY = 0.3


@SUITES.register("cost")
@dataclass(frozen=True)
class CostSuite:
    """What the model costs on disk and on this machine, and whether its zeros bring speed.

    Bytes are those of files that were written, read back and found equal bit for bit. Speed is
    compared with the same model with its zeros filled; runs of the two alternate, so conditions
    are the same. Memory is that of a process of its own, which opens the written files. Where
    ``xllamacpp`` is installed, the model is also written as GGUF files and timed through llama.cpp.

    Args:
        batches: Batch sizes to time.
        prompt: Tokens of a prompt.
        new: Tokens generated per sequence.
        repeats: Timed runs per batch size, after one that is not counted.
        gguf: Types of GGUF files to time through llama.cpp.
        seed: Seed of the prompts.
    """

    batches: tuple[int, ...] = (1, 4, 8)
    prompt: int = PROMPT
    new: int = NEW
    repeats: int = REPEATS
    gguf: tuple[str, ...] = ("q8_0",)
    seed: int = 0

    name = "cost"

    def __post_init__(self) -> None:
        numbers = (*self.batches, self.prompt, self.new, self.repeats)
        if not self.batches or min(numbers) < 1:
            raise UsageError(
                f"batches {self.batches}, prompt {self.prompt}, new {self.new}, repeats "
                f"{self.repeats} is not possible; all are at least 1"
            )
        for kind in self.gguf:
            if kind not in FILE_TYPES:
                raise UnknownNameError("GGUF type", kind, FILE_TYPES)

    def check(self, loaded: LoadedModel, *, resources: Resources = NO_RESOURCES) -> None:
        """Check that prompts and replies fit."""
        require_room(loaded.model, self.prompt, self.new)

    def computed_with(self) -> dict[str, Any]:
        """See :func:`autoprune.evaluation.suites.suite.computed_with`."""
        return {"machine": hardware(), "xllamacpp": package_version("xllamacpp")}

    def run(
        self, loaded: LoadedModel, *, report: Report = silent, resources: Resources = NO_RESOURCES
    ) -> list[Row]:
        """Measure; see :class:`autoprune.evaluation.suites.suite.Suite`."""
        self.check(loaded)
        protocol = {"version": VERSION, "dtype": model_protocol(loaded)["dtype"]}
        context = RowContext(self.name, protocol, model_provenance(loaded), self.seed)
        with tempfile.TemporaryDirectory(prefix="autoprune-cost-") as temporary:
            root = Path(temporary)
            try:
                saved = save_model(loaded.model, loaded.tokenizer, root / "dense", {})
            except AutopruneError as error:
                # Speed needs no disk.
                rows = self._without_files(f"{error}; TMPDIR names another folder", context)
                peaks: list[float | str] = [str(error)] * len(self.batches)
            else:
                rows = self._size_rows(saved, root, context, report)
                ids = prompt_ids(loaded.model, 1, self.prompt, self.seed)[0].tolist()
                rows += llama_cpp_rows(
                    root / "dense", self.gguf, ids, self.new, self.repeats, context, report
                )
                peaks = self._peaks(loaded, root / "dense")
        return rows + self._speed_rows(loaded, peaks, context, report)

    def _without_files(self, reason: str, context: RowContext) -> list[Row]:
        """What would have been read from files; a later run may find room for them."""
        names = [("model", "parameters"), ("model", "zeros")]
        names += [(name, "size") for name in ("dense", "bitmask", "csr")]
        names += [(f"llama.cpp {kind}", "decode") for kind in self.gguf]
        return [context.missing(*name, reason, details={PASSING: True}) for name in names]

    def _size_rows(
        self, saved: SavedModel, root: Path, context: RowContext, report: Report
    ) -> list[Row]:
        files = sorted((root / "dense").glob("*.safetensors"))
        dense = sum(path.stat().st_size for path in files)
        zeros = saved.zeros
        rows = [
            context.figure("model", "parameters", zeros.total),
            context.figure(
                "model", "zeros", zeros.zeros,
                details={"prunable": zeros.prunable, "sparsity": zeros.sparsity,
                         "sparsity_of_all": zeros.zeros / zeros.total},
            ),
            context.figure("dense", "size", dense, unit="bytes"),
        ]  # fmt: skip
        for number, encoding in enumerate(("bitmask", "csr"), 1):
            target = root / encoding
            try:
                size = write_compact(root / "dense", target, encoding=encoding)
            except AutopruneError as error:
                passing = {PASSING: True}
                rows.append(context.missing(encoding, "size", str(error), details=passing))
                continue
            require_equal(root / "dense", target)
            rows.append(
                context.figure(
                    encoding, "size", size.compact_bytes, unit="bytes",
                    details={**asdict(size), "ratio": size.ratio, "reloaded_equal": True},
                )
            )  # fmt: skip
            report(Progress("size", number, 2, encoding))
        return rows

    def _peaks(self, loaded: LoadedModel, folder: Path) -> list[float | str]:
        """Peak memory by batch size, or the reason why it is unknown."""
        try:
            found = peaks_alone(
                folder, loaded.model, self.batches, self.prompt, self.new, self.seed
            )
        except AutopruneError as error:
            return [str(error)] * len(self.batches)
        return [NOT_REPORTED if peak is None else peak for peak in found]

    def _speed_rows(
        self,
        loaded: LoadedModel,
        peaks: Sequence[float | str],
        context: RowContext,
        report: Report,
    ) -> list[Row]:
        protocol = {
            "prompt": self.prompt, "new": self.new, "repeats": self.repeats, "seed": self.seed,
            "device": str(loaded.model.device), **hardware(),
        }  # fmt: skip
        linears = prunable_linears(loaded.model)
        sparse = any(bool((linear.read() == 0).any()) for linear in linears)
        rows: list[Row] = []
        progress = _Runs([batch for batch in self.batches for _ in range(self.repeats + 2)], report)
        for batch, peak in zip(self.batches, peaks, strict=True):
            progress.begin(f"batch {batch}, warming up")
            time_once(loaded.model, batch, self.prompt, self.new, self.seed)
            progress.ended(f"batch {batch}, warm")
            own, filled = self._time(loaded, batch, linears if sparse else [], progress)
            name = f"batch {batch}"
            rows += [
                self._runs_row(
                    name, "latency", own.prompt_seconds, "seconds", context, protocol, {}
                ),
                self._runs_row(
                    name, "throughput", own.rates, "tokens per second", context, protocol, {}
                ),
                self._runs_row(
                    name, "prefill", own.prefill(self.prompt), "tokens per second", context,
                    protocol, {},
                ),
                self._runs_row(
                    name, "decode", own.decode, "tokens per second", context, protocol, {}
                )
                if own.decode
                else context.missing(
                    name, "decode", "no generation took longer than its prompt", protocol=protocol
                ),
                context.missing(
                    name, "peak_memory", peak, protocol=protocol,
                    # Another run may find more memory, or time.
                    details={} if peak == NOT_REPORTED else {PASSING: True},
                )
                if isinstance(peak, str)
                else context.figure(name, "peak_memory", peak, unit="bytes", protocol=protocol),
                self._gain_row(name, own, filled, context, protocol),
            ]  # fmt: skip
        return rows

    def _time(
        self,
        loaded: LoadedModel,
        batch: int,
        linears: Sequence[PrunableLinear],
        progress: "_Runs",
    ) -> tuple[Timing, Timing | None]:
        """Time the model and, if ``linears`` are given, the same model with its zeros filled."""
        own: list[tuple[float, float]] = []
        filled: list[tuple[float, float]] = []

        def once() -> tuple[float, float]:
            return time_once(loaded.model, batch, self.prompt, self.new, self.seed)

        def once_filled() -> tuple[float, float]:
            with _zeros_filled(linears):
                # Filling moves all weights through the caches; this run pays for that.
                time_once(loaded.model, batch, self.prompt, 1, self.seed)
                return once()

        for number in range(self.repeats + 1):
            # The order alternates: a machine that slows down favours neither.
            if linears and number % 2:
                filled.append(once_filled())
            time_once(loaded.model, batch, self.prompt, 1, self.seed)
            own.append(once())
            if linears and not number % 2:
                filled.append(once_filled())
            progress.ended(f"batch {batch}, run {number} of {self.repeats}")
        timings = [self._timing(batch, runs[1:]) for runs in (own, filled) if runs]
        return timings[0], timings[1] if filled else None

    def _timing(self, batch: int, runs: Sequence[tuple[float, float]]) -> Timing:
        prompts, decodes = (tuple(run[part] for run in runs) for part in (0, 1))
        return Timing(prompts, decodes, batch, self.new)

    def _gain_row(
        self,
        name: str,
        own: Timing,
        filled: Timing | None,
        context: RowContext,
        protocol: dict[str, object],
    ) -> Row:
        metric = "speedup_from_zeros"
        if filled is None:
            return context.missing(name, metric, "the model has no zeros", protocol=protocol)
        ratios = [b / a for a, b in zip(own.decode_seconds, filled.decode_seconds, strict=True)]
        ratio, interval = bootstrap_median(ratios, seed=self.seed)
        verdict = {"verdict": _verdict(ratio, interval, len(ratios))}
        return self._runs_row(name, metric, ratios, "x", context, protocol, verdict)

    def _runs_row(
        self,
        name: str,
        metric: str,
        runs: Sequence[float],
        unit: str,
        context: RowContext,
        protocol: dict[str, object],
        details: Mapping[str, object],
    ) -> Row:
        """The median of timed runs, with its interval."""
        median, interval = bootstrap_median(runs, seed=self.seed)
        return context.figure(
            name, metric, median, unit=unit, interval=interval, items=tuple(runs),
            protocol=protocol, details={RUNS: True, **details},
        )  # fmt: skip


class _Runs:
    """Reports timed runs as they end, with the time that is left.

    Args:
        weights: One per run in order, roughly proportional to its time.
        report: Callback.
    """

    def __init__(self, weights: Sequence[int], report: Report) -> None:
        self._weights = list(weights)
        self._report = report
        self._done = 0
        self._started = time.perf_counter()

    def begin(self, note: str) -> None:
        """Start a batch size."""
        self._report(Progress("speed", self._done, len(self._weights), note))

    def ended(self, note: str) -> None:
        """Record the end of a run."""
        self._done += 1
        past, rest = sum(self._weights[: self._done]), sum(self._weights[self._done :])
        left = (time.perf_counter() - self._started) * rest / past
        text = f"{note}, about {left:.0f} s left" if rest else note
        self._report(Progress("speed", self._done, len(self._weights), text))


def _verdict(ratio: float, interval: Interval | None, runs: int) -> str:
    plain = "dense kernels multiply zeros like any number; what shrinks is the file"
    steady = interval is not None and interval[1] - interval[0] <= _STEADY * ratio
    if interval is None or not steady or runs < LEAST_RUNS:
        return (
            "the zeros bring no speed on this hardware that could be shown: the timings vary too "
            f"much or are too few (ratio {ratio:.2f}); use {LEAST_RUNS} repeats or more on a quiet "
            f"machine; {plain}"
        )
    if interval[0] > 1 and ratio > 1 + _WORTH:
        return f"the zeros bring {ratio:.2f} times the speed on this hardware"
    return (
        f"the zeros bring no speed on this hardware ({ratio:.2f} times that of the same model "
        f"without zeros): {plain}"
    )


@contextmanager
def _zeros_filled(linears: Sequence[PrunableLinear]) -> Iterator[None]:
    """Fill the zeros of the matrices with small numbers; restore them bit for bit at the end."""
    # Zeros are kept as bits, an eighth of a byte per weight; a copy would double the model.
    zeros: list[PackedMask] = []
    generator = torch.Generator().manual_seed(0)
    try:
        for linear in linears:
            weight = linear.read()
            # The sign matters: a negative zero is left alone, since it would come back positive.
            zero = (weight == 0) & ~torch.signbit(weight)
            zeros.append(pack_mask(zero))
            noise = torch.rand(weight.shape, generator=generator) * 0.01 + 0.01
            linear.write(torch.where(zero, noise.to(weight), weight))
        yield
    finally:
        for linear, packed in zip(linears, zeros, strict=False):
            weight = linear.read()
            linear.write(weight.masked_fill(packed.unpack().to(weight.device), 0))
