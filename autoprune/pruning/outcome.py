"""Results of pruning: masks and their figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from autoprune.candidate import Candidate
from autoprune.masking import masks_digest


@dataclass(frozen=True, kw_only=True)
class PruneFigures:
    """Figures reported by every way of pruning.

    Args:
        layer_sparsity: Share of zeros per layer.
        zeros: Pruned weights.
        prunable: All prunable weights.
        mask_digest: SHA-256 that identifies the masks; for programs on a bench, the weights.
        seconds: Wall-clock time.
        notes: Fallbacks that happened, each with its layer.
    """

    layer_sparsity: Mapping[str, float]
    zeros: int
    prunable: int
    mask_digest: str
    seconds: float
    notes: tuple[str, ...] = ()

    @property
    def sparsity(self) -> float:
        """Share of pruned weights among the prunable ones."""
        return self.zeros / self.prunable if self.prunable else 0.0

    def to_json(self) -> dict[str, Any]:
        """What the record of a pruned model says of it."""
        return {
            "pruned": self.zeros,
            "mask_digest": self.mask_digest,
            "layer_sparsity": dict(self.layer_sparsity),
            "notes": list(self.notes),
        }


@dataclass(frozen=True, kw_only=True)
class PruneOutcome(PruneFigures):
    """Masks of a model in memory and their figures.

    Args:
        keep: Mask per layer, bool [o, i].
        weights_digest: SHA-256 of the new weights if a program made them, empty otherwise; two
            programs with the same weights count as one.
        block_errors: Relative error of each block on calibration windows that a block program did
            not see; empty otherwise.
    """

    keep: Mapping[str, Tensor]
    weights_digest: str = ""
    block_errors: tuple[float, ...] = ()

    def after(self, masks: "PruneOutcome") -> "PruneOutcome":
        """Return it with the notes and seconds of the masks that were repaired, too."""
        notes, seconds = (*masks.notes, *self.notes), masks.seconds + self.seconds
        return replace(self, notes=notes, seconds=seconds)

    def by_program(self, program: Mapping[str, Any]) -> dict[str, Any]:
        """What the record of a model says of the program that pruned it."""
        errors = {"block_errors": list(self.block_errors)} if self.block_errors else {}
        known = {**program, "seconds": self.seconds, **errors}
        return {"program": known, "weights_digest": self.weights_digest}

    def by_code(self, metric: Candidate, name: str) -> dict[str, Any]:
        """What the record says of designed code that pruned the model; nothing if none did."""
        code = {"name": name, **metric.to_json(), "digest": metric.digest}
        if metric.kind == "program":
            return self.by_program(code)
        return {"metric": name, "metric_code": code} if metric.kind == "python" else {}

    @classmethod
    def of_masks(
        cls, keep: Mapping[str, Tensor], seconds: float, notes: Sequence[str] = ()
    ) -> "PruneOutcome":
        """Count zeros in the masks and compute their digest."""
        zeros = {name: mask.numel() - int(mask.sum()) for name, mask in keep.items()}
        return cls(
            keep=keep,
            layer_sparsity={name: zeros[name] / mask.numel() for name, mask in keep.items()},
            zeros=sum(zeros.values()),
            prunable=sum(mask.numel() for mask in keep.values()),
            mask_digest=masks_digest(keep),
            seconds=seconds,
            notes=tuple(notes),
        )
