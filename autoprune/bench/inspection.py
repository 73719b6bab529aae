"""Inspect a model before pruning: the shape of each matrix, and the cost of pruning it."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from autoprune.allocation.formula import OUTLIER_FACTOR
from autoprune.allocation.shape import peak_exponent, skewness, spectrum
from autoprune.bench.bench import Bench
from autoprune.bench.text import SELECTION
from autoprune.errors import UsageError
from autoprune.masking.quotas import budget_zeros
from autoprune.masking.select import keep_rows
from autoprune.precision import in_float64, where_float64_is
from autoprune.progress import Progress, Report, silent
from autoprune.renamed import renamed

if TYPE_CHECKING:
    from autoprune.models.structure import PrunableLinear

PLACES = ("first", "middle", "last", "all")
# Facts on this many of the most and least sensitive blocks are worth a prompt's tokens.
MOST_FACTS = 3


@dataclass(frozen=True)
class MatrixFacts:
    """One prunable matrix.

    Args:
        name: Dotted name.
        block: Number of its block, from 0.
        kind: Last part of the name, ``q_proj``.
        shape: Output and input features.
        skew: Third standardised moment of ``|W|``; 0.995 for normal weights.
        kurtosis: Fourth standardised moment of ``W``; 3 for normal weights.
        score_skew: Third standardised moment of Wanda's scores ``|W| * x_norm``.
        score_kurtosis: Fourth standardised moment of these scores.
        outliers: Share of scores above five times their mean.
        effective_rank: ``exp`` of the entropy of the singular values as shares of their sum (Roy
            and Vetterli, EUSIPCO 2007), as a share of the full rank.
        alpha: Power-law exponent of the spectrum's tail (AlphaPruning, arXiv 2410.10912).
        damage: Increase in loss, nats per token, if only this matrix is pruned; None: not measured.
    """

    name: str
    block: int
    kind: str
    shape: tuple[int, int]
    skew: float
    kurtosis: float
    score_skew: float
    score_kurtosis: float
    outliers: float
    effective_rank: float
    alpha: float
    damage: float | None


@dataclass(frozen=True)
class Inspection:
    """Facts of one model.

    Args:
        model: Its reference.
        corpus: Text used for inputs and losses.
        sparsity: Share of zeros in the pruned matrices, by Wanda's scores, row by row.
        windows: Selection windows behind each loss.
        loss: Loss of the dense model, nats per token.
        matrices: Facts of each matrix, in model order.
        kinds: Increase in loss if all matrices of one kind are pruned, by kind.
        blocks: Increase in loss if one whole block is pruned, by block.
    """

    model: str
    corpus: str
    sparsity: float
    windows: int
    loss: float
    matrices: tuple[MatrixFacts, ...]
    kinds: dict[str, float]
    blocks: dict[int, float]

    @property
    def facts(self) -> list[str]:
        """Sentences for people and prompts: damage by kind, then the extremes of that by block."""
        share = f"{self.sparsity:.0%} of"
        kinds = sorted(self.kinds.items(), key=lambda pair: -pair[1])
        found = [
            f"pruning {share} {kind} alone in all blocks raises the loss by {nats:+.3f} nats"
            for kind, nats in kinds
        ]
        blocks = sorted(self.blocks.items(), key=lambda pair: -pair[1])
        ends = blocks[:MOST_FACTS] + blocks[MOST_FACTS:][-MOST_FACTS:]
        last = max((matrix.block for matrix in self.matrices), default=0)
        return found + [
            f"pruning {share} block {block} of 0 to {last} alone: {nats:+.3f} nats"
            for block, nats in ends
        ]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON form."""
        return {**asdict(self), "facts": self.facts}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Inspection | None":
        """Inverse of :meth:`to_json`; None if figures are missing, as in a file of sentences."""
        try:
            found = cls(
                model=str(value["model"]),
                corpus=str(value["corpus"]),
                sparsity=float(value["sparsity"]),
                windows=int(value["windows"]),
                loss=float(value["loss"]),
                matrices=tuple(_matrix(found) for found in value["matrices"]),
                kinds={str(kind): float(nats) for kind, nats in value["kinds"].items()},
                blocks={int(block): float(nats) for block, nats in value["blocks"].items()},
            )
        except (KeyError, TypeError, ValueError, AttributeError):
            return None
        return found if found.matrices and found.kinds else None


def _matrix(value: Mapping[str, Any]) -> MatrixFacts:
    """One matrix from JSON, which writes infinities as text."""
    other = {"name", "kind", "block", "shape", "damage"}
    known: dict[str, Any] = {
        entry.name: float(value[entry.name])
        for entry in fields(MatrixFacts)
        if entry.name not in other
    }
    known |= {"name": str(value["name"]), "kind": str(value["kind"]), "block": int(value["block"])}
    rows, columns = map(int, value["shape"])
    damage = None if value["damage"] is None else float(value["damage"])
    return MatrixFacts(**known, shape=(rows, columns), damage=damage)


@renamed(windows="calibration_windows", selection="selection_windows")
def inspect_model(
    model: str | Path,
    *,
    corpus: str | Path = "wikipedia-sample",
    sparsity: float = 0.6,
    layers: str = "first,middle,last",
    seqlen: int = 512,
    calibration_windows: int = 16,
    selection_windows: int = 4,
    cache: Path | None = None,
    report: Report = silent,
    dtype: str = "float32",
) -> Inspection:
    """Measure the shape of each matrix and the cost of pruning it alone; the model is unchanged.

    Args:
        model: A hub id, a folder, a ``.gguf`` file or ``package:module/file``.
        corpus: A known name or a text file; inputs come from its calibration part, losses from its
            selection part.
        sparsity: Share of zeros in the pruned matrices, above 0 and below 1.
        layers: Blocks to prune alone, each matrix by itself and the block as a whole: ``first``,
            ``middle``, ``last``, ``all`` or numbers from 0, separated by commas. Each matrix takes
            one pass over the selection windows.
        seqlen: Tokens per window.
        calibration_windows: Windows of calibration text.
        selection_windows: Windows of selection text.
        cache: Folder for windows and statistics; None: a temporary one.
        report: Called with progress.
        dtype: Type of the weights in memory, by torch's name.

    Raises:
        UsageError: If the sparsity or a block is out of range, or the text is too short.
    """
    if not 0.0 < sparsity < 1.0:
        raise UsageError(f"sparsity is {sparsity}; give a share of zeros above 0 and below 1")
    with Bench.open(
        model,
        corpus=corpus,
        seqlen=seqlen,
        calibration_windows=calibration_windows,
        selection_windows=selection_windows,
        cache=cache,
        report=report,
        dtype=dtype,
    ) as bench:
        return inspect_on(bench, sparsity, layers)


def inspect_on(bench: Bench, sparsity: float, layers: str) -> Inspection:
    """Like :func:`inspect_model`, for a bench's model, which is dense before and after.

    Raises:
        UsageError: If a block is out of range.
    """
    linears = bench.layers
    chosen = chosen_blocks(layers, 1 + max(layer.block for layer in linears))
    statistics = bench.calibrated(("x_norm",))
    kinds = dict.fromkeys(layer.projection for layer in linears)
    total = len(kinds) + len(chosen) + sum(layer.block in chosen for layer in linears)
    dense = _loss(bench)
    done = 0

    def scores(layer: "PrunableLinear") -> Tensor:
        weight = where_float64_is(layer.read()).float()
        return weight.abs() * statistics.of(layer.name)["x_norm"].to(weight.device)

    def damage(pruned: Sequence["PrunableLinear"]) -> float:
        nonlocal done
        with _pruned(pruned, scores, sparsity):
            found = _loss(bench) - dense
        done += 1
        bench.report(Progress("inspection", done, total))
        return found

    matrices = tuple(
        _facts(layer, scores(layer), damage([layer]) if layer.block in chosen else None)
        for layer in linears
    )
    return Inspection(
        model=bench.model_ref,
        corpus=bench.text.corpus,
        sparsity=sparsity,
        windows=len(bench.part(SELECTION)),
        loss=dense,
        matrices=matrices,
        kinds={k: damage([layer for layer in linears if layer.projection == k]) for k in kinds},
        blocks={b: damage([layer for layer in linears if layer.block == b]) for b in chosen},
    )


def chosen_blocks(text: str, count: int) -> list[int]:
    """Numbers of the blocks named in a text, ascending.

    Args:
        text: As ``layers`` of :func:`inspect_model`.
        count: Number of blocks in the model.

    Raises:
        UsageError: If a word is unknown or a number is out of range.
    """
    found: set[int] = set()
    places = {"first": [0], "middle": [count // 2], "last": [count - 1], "all": range(count)}
    for word in filter(None, (part.strip() for part in text.split(","))):
        if word in places:
            found.update(places[word])
        elif word.isdecimal() and int(word) < count:
            found.add(int(word))
        else:
            raise UsageError(
                f"layers has {word!r}; allowed are {', '.join(PLACES)} and numbers from 0 to "
                f"{count - 1}, with commas between"
            )
    if not found:
        raise UsageError(f"layers {text!r} names no block; write all, or first,middle,last")
    return sorted(found)


def kurtosis(values: Tensor) -> float:
    """Fourth standardised moment, E[(v - mu)^4] / sigma^4; 3 for normal values, 0 for constants."""
    centred = in_float64(values.detach()).reshape(-1)
    squares = (centred - centred.mean()).square()
    variance = float(squares.mean())
    return float(squares.square().mean()) / variance**2 if variance else 0.0


def effective_rank(eigenvalues: Tensor) -> float:
    """``exp`` of the entropy of singular values as shares of their sum.

    Args:
        eigenvalues: Those of W^T W, above 0; the singular values are their roots.
    """
    if eigenvalues.numel() == 0:
        return 0.0
    shares = eigenvalues.sqrt() / eigenvalues.sqrt().sum()
    return math.exp(-float((shares * shares.log()).sum()))


def _facts(layer: "PrunableLinear", scores: Tensor, damage: float | None) -> MatrixFacts:
    weight = layer.read()
    values = spectrum(weight)
    mean = float(in_float64(scores).mean())
    return MatrixFacts(
        name=layer.name,
        block=layer.block,
        kind=layer.projection,
        shape=layer.shape,
        skew=skewness(weight),
        kurtosis=kurtosis(weight),
        score_skew=skewness(scores),
        score_kurtosis=kurtosis(scores),
        outliers=float((scores > OUTLIER_FACTOR * mean).float().mean()),
        effective_rank=effective_rank(values) / min(layer.shape),
        alpha=peak_exponent(values),
        damage=damage,
    )


@contextmanager
def _pruned(
    layers: Sequence["PrunableLinear"],
    scores: Callable[["PrunableLinear"], Tensor],
    sparsity: float,
) -> Iterator[None]:
    kept = [(layer, layer.read().clone()) for layer in layers]
    try:
        for layer in layers:
            layer.zero(keep_rows(scores(layer), budget_zeros(sparsity, layer.numel)))
        yield
    finally:
        for layer, weight in kept:
            layer.write(weight)


def _loss(bench: Bench) -> float:
    nll = bench.evaluate(SELECTION).nll
    return math.fsum(nll) / len(nll)
