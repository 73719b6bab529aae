"""Statistics that metrics may read on the inputs of each prunable matrix, from one model pass.

All are float32; ``i`` input and ``o`` output features; means are over all calibration tokens:

============= ======== ===================================================================
x_norm        [i]      root of the mean of ``x^2``
x_mean        [i]      mean of ``x``
x_var         [i]      variance of ``x``
x_max         [i]      largest ``|x|``
hessian_diag  [i]      ``1 / [(G + 0.01 mean(diag G) I)^-1]_jj``, Optimal Brain Surgeon's curvature
grad_norm     [o, i]   root of the mean over windows of ``(dL/dW)^2``
gram          [i, i]   ``G``, the mean of ``x x^T``; for repair, never shown to candidates
============= ======== ===================================================================
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from autoprune.digest import digest_bytes, digest_json
from autoprune.errors import DamagedStatisticsError, UnknownNameError
from autoprune.models.capture import BlockStream
from autoprune.models.loading import LoadedModel
from autoprune.models.structure import PrunableLinear, prunable_linears
from autoprune.numerics import computed_by
from autoprune.progress import Progress, Report, silent
from autoprune.statistics.accumulator import BASIC, FROM_GRAM
from autoprune.statistics.gradients import gradient_norms
from autoprune.statistics.recorder import BlockRecorder, kind_of
from autoprune.store import Store, Stored

GRADIENT = "grad_norm"
ALL = BASIC | FROM_GRAM | {GRADIENT}
# Sets that are collected ahead of need; whatever needs part of one finds that part in the store.
AHEAD = (BASIC, BASIC | {"hessian_diag"})

__all__ = [
    "AHEAD",
    "ALL",
    "BASIC",
    "Statistics",
    "collect_statistics",
    "found_or_collected",
    "stored_statistics",
    "verify_statistics",
]


@dataclass(frozen=True)
class Statistics:
    """Statistics of every prunable matrix.

    Args:
        tokens: Number of calibration tokens.
        digest: SHA-256 over names and values.
        layers: Statistics by matrix name; matrices with a shared input share tensors.
        notes: Fallbacks that happened, such as experts that no token reached.
    """

    tokens: int
    digest: str
    layers: Mapping[str, Mapping[str, Tensor]]
    notes: tuple[str, ...] = ()

    def of(self, layer_name: str) -> Mapping[str, Tensor]:
        """Statistics of one matrix by name."""
        try:
            return self.layers[layer_name]
        except KeyError:
            raise UnknownNameError("prunable matrix", layer_name, self.layers) from None

    def _only(self, needs: Collection[str]) -> "Statistics":
        layers = {
            layer: {name: value for name, value in values.items() if name in needs}
            for layer, values in self.layers.items()
        }
        return Statistics(self.tokens, _digest(self.tokens, layers), layers, self.notes)

    def to_stored(self) -> Stored:
        """Flat form for :class:`Store`; shared tensors are written once."""
        tensors: dict[str, Tensor] = {}
        names: dict[int, str] = {}
        layers: dict[str, dict[str, str]] = {}
        for layer, values in self.layers.items():
            for stat, value in values.items():
                name = names.setdefault(id(value), f"{layer}/{stat}")
                tensors[name] = value
                layers.setdefault(layer, {})[stat] = name
        meta = {"tokens": self.tokens, "digest": self.digest, "layers": layers}
        return Stored(tensors, {**meta, "notes": list(self.notes)})

    @classmethod
    def from_stored(cls, stored: Stored) -> "Statistics":
        """Inverse of :meth:`to_stored`."""
        layers = {
            layer: {stat: stored.tensors[name] for stat, name in values.items()}
            for layer, values in stored.meta["layers"].items()
        }
        meta = stored.meta
        return cls(meta["tokens"], meta["digest"], layers, tuple(meta["notes"]))


def collect_statistics(
    model: PreTrainedModel,
    windows: Tensor,
    *,
    needs: Collection[str] = BASIC,
    mask: Tensor | None = None,
    report: Report = silent,
    batch_tokens: int = 2048,
) -> Statistics:
    """Stream the windows once through the dense model, block by block."""
    for name in needs:
        if name not in ALL:
            raise UnknownNameError("statistic", name, ALL)
    linears = prunable_linears(model)
    sequences = _real_tokens(windows, mask)
    notes: list[str] = []
    layers = _input_statistics(model, linears, sequences, needs, report, batch_tokens, notes)
    if GRADIENT in needs:
        gradients = gradient_norms(model, linears, sequences, report=report)
        fill_unreached(linears, gradients)
        layers = {name: {**values, GRADIENT: gradients[name]} for name, values in layers.items()}
    tokens = sum(len(sequence) for sequence in sequences)
    return Statistics(tokens, _digest(tokens, layers), layers, tuple(notes))


def stored_statistics(
    store: Store,
    loaded: LoadedModel,
    windows: Tensor,
    *,
    needs: Collection[str] = BASIC,
    report: Report = silent,
) -> Statistics:
    """:func:`collect_statistics`, cached in ``store`` by model, windows, needs and arithmetic.

    What the store holds as part of a set of :data:`AHEAD` is taken from there.
    """
    return found_or_collected(store, loaded, windows, needs=needs, report=report)[0]


def found_or_collected(
    store: Store,
    loaded: LoadedModel,
    windows: Tensor,
    *,
    needs: Collection[str] = BASIC,
    report: Report = silent,
) -> tuple[Statistics, bool]:
    """:func:`stored_statistics`, and whether they were already in the store."""
    collected: list[Statistics] = []

    def make() -> Stored:
        for more in AHEAD:
            if more > frozenset(needs) and store.holds(_key(loaded, windows, more)):
                return (
                    stored_statistics(store, loaded, windows, needs=more)._only(needs).to_stored()
                )
        collected.append(collect_statistics(loaded.model, windows, needs=needs, report=report))
        return collected[0].to_stored()

    stored = store.get_or_make(_key(loaded, windows, needs), make)
    return Statistics.from_stored(stored), not collected


def verify_statistics(
    statistics: Statistics,
    store: Store,
    loaded: LoadedModel,
    windows: Tensor,
    *,
    needs: Collection[str] = BASIC,
) -> None:
    """Check that statistics in memory are bit-identical to those on record in ``store``."""
    now = _digest(statistics.tokens, statistics.layers)
    recorded = store.recorded(_key(loaded, windows, needs))
    stored = recorded["digest"] if recorded is not None else "nothing"
    if now == statistics.digest == stored:
        return
    raise DamagedStatisticsError(
        f"statistics in memory have the digest {now[:12]}, were collected with "
        f"{statistics.digest[:12]}, and the store has {stored[:12]} on record; run again, and test "
        "this machine's memory if it comes back"
    )


def _key(loaded: LoadedModel, windows: Tensor, needs: Collection[str]) -> dict[str, Any]:
    return {
        "kind": "statistics",
        "version": 2,
        **computed_by(),
        "model": loaded.source.digest,
        "dtype": str(loaded.model.dtype),
        "device": loaded.model.device.type,
        "windows": digest_bytes(windows.cpu().contiguous().numpy().tobytes()),
        "shape": list(windows.shape),
        "needs": sorted(needs),
    }


def _input_statistics(
    model: PreTrainedModel,
    linears: Sequence[PrunableLinear],
    sequences: Sequence[Tensor],
    needs: Collection[str],
    report: Report,
    batch_tokens: int,
    notes: list[str],
) -> dict[str, dict[str, Tensor]]:
    wanted = set(needs) - {GRADIENT}
    layers: dict[str, dict[str, Tensor]] = {x.name: {} for x in linears}
    if not wanted:
        return layers
    streams = _streams(model, sequences, batch_tokens)
    blocks = streams[0].blocks
    for index, block in enumerate(blocks):
        members = [x for x in linears if x.block == index]
        with BlockRecorder(block, members, wanted) as recorder:
            for stream in streams:
                stream.advance()
        layers.update(recorder.results())
        notes.extend(recorder.notes)
        report(Progress("statistics", index + 1, len(blocks)))
    return layers


def fill_unreached(linears: Sequence[PrunableLinear], gradients: dict[str, Tensor]) -> None:
    """Give experts without a gradient the root mean square of the reached ones, in place."""
    kinds: dict[str, list[str]] = {}
    for linear in linears:
        kinds.setdefault(kind_of(linear), []).append(linear.name)
    for names in kinds.values():
        reached = [name for name in names if bool(gradients[name].any())]
        if len(names) == len(reached) or not reached:
            continue
        mean = torch.stack([gradients[name].square() for name in reached]).mean(dim=0).sqrt()
        gradients.update((name, mean) for name in names if name not in reached)


def _streams(
    model: PreTrainedModel, sequences: Sequence[Tensor], batch_tokens: int
) -> list[BlockStream]:
    by_length: dict[int, list[Tensor]] = {}
    for sequence in sequences:
        by_length.setdefault(len(sequence), []).append(sequence)
    return [
        BlockStream(model, torch.stack(group), batch=max(1, batch_tokens // length))
        for length, group in sorted(by_length.items())
    ]


def _real_tokens(windows: Tensor, mask: Tensor | None) -> list[Tensor]:
    if mask is None:
        return list(windows)
    kept = [window[real.bool()] for window, real in zip(windows, mask, strict=True)]
    return [window for window in kept if len(window)]


def _digest(tokens: int, layers: Mapping[str, Mapping[str, Tensor]]) -> str:
    known: dict[int, str] = {}

    def content(value: Tensor) -> str:
        if id(value) not in known:
            known[id(value)] = digest_bytes(value.contiguous().numpy().tobytes())
        return known[id(value)]

    described: dict[str, Any] = {
        layer: {stat: content(value) for stat, value in values.items()}
        for layer, values in layers.items()
    }
    return digest_json({"tokens": tokens, "layers": described})
