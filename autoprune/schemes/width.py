"""Narrower blocks: remove neurons and attention groups, of one share or of rates by block."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor
from transformers import PreTrainedModel

from autoprune.allocation import Allocator, ModelContext, build_allocator, project
from autoprune.errors import UsageError
from autoprune.masking.quotas import layer_quotas
from autoprune.models.capture import BlockStream
from autoprune.models.structure import PrunableLinear, prunable_linears
from autoprune.precision import in_float64
from autoprune.progress import Progress, Report, silent
from autoprune.schemes.plan import SchemePlan, Step, alike
from autoprune.schemes.policy import learn, masked_loss, start_from
from autoprune.schemes.scheme import SCHEMES, Scheme
from autoprune.schemes.surgery import block_parameters, written
from autoprune.schemes.taylor import taylor_products
from autoprune.schemes.units import BlockUnits, UnitLayout, unit_layout
from autoprune.spelling import split_outside
from autoprune.statistics.recorder import BlockRecorder

Score = Literal["wanda", "flap", "magnitude", "taylor", "random"]
# Scores from the inputs of the matrix that reads the units; others use the units' weights.
_BY_INPUTS = ("wanda", "flap")
_DAMPING = 0.01
UNIFORM = "uniform"
UNEQUAL = (
    "its blocks have MLPs of different widths, which no stock configuration expresses: autoprune "
    "opens the folder, and stock transformers refuses it"
)
# Numbers that GGUF's quantised types pack together.
PACKED = 32
ODD = (
    f"neurons are no multiple of {PACKED}, so GGUF keeps a matrix of each block unquantised, and "
    f"runtimes may be no faster; width:multiple={PACKED} takes the nearest number that is"
)


@SCHEMES.register("width")
@dataclass(frozen=True)
class Width(Scheme):
    """Remove neurons and attention groups, equally many in every block unless rates say otherwise.

    Groups are few, so their share is rounded down to whole ones, and neurons make up the rest.
    Rates differ for neurons alone. Stock transformers does not open what they give, so it is saved
    with a configuration that our loader reads (:mod:`autoprune.models.widths`).

    Args:
        score: ``wanda``: mean ``|W|`` of the unit's columns times the norm of their input
            (Wanda-sp); ``flap``: variance of the input times ``||W||^2`` (FLAP, without its bias,
            which a stock configuration has no place for); ``magnitude``: sum of ``|W|``;
            ``taylor``: sum of ``|W dL/dW|`` over the unit (LLM-Pruner); ``random``: a control.
        parts: ``both``, or ``mlp``: neurons only.
        fit: Whether to fit the matrix that reads the units to its earlier output by least squares.
        search: ``policy`` learns which units to keep by policy gradient, starting from the scores,
            with forward passes only; ``none`` uses the order of the scores.
        steps: Number of learning steps; a model of 100M parameters needs thousands.
        samples: Masks drawn per step, at least 2.
        rate: Initial step size.
        rates: Allocator of the neurons' share over the blocks, ``ramp:half_width=0.2``,
            ``given:0.1/0.3``, a formula; in brackets if it holds a comma or a plus sign. It reads
            the matrices that read neurons, and no statistics (Self-Pruner, arXiv 2502.14413).
        multiple: Divisor of the number of neurons that a block keeps. Runtimes are fast with 32 or
            64, and llama.cpp quantises rows of 32; the nearest number is taken, so the share moves
            by up to half of it.
    """

    NAME: ClassVar[str] = "width"
    SOURCE: ClassVar[str] = "Wanda-sp and FLAP, arXiv 2312.11983; LLM-Pruner, arXiv 2305.11627"
    NARROWS: ClassVar[bool] = True
    # 1: signed gradients of bfloat16 weights are summed in float32.
    VERSION: ClassVar[int] = 1

    score: Score = "wanda"
    parts: Literal["both", "mlp"] = "both"
    fit: bool = True
    search: Literal["none", "policy"] = "none"
    steps: int = 300
    samples: int = 4
    rate: float = 0.02
    rates: str = UNIFORM
    multiple: int = 1

    def __post_init__(self) -> None:
        allocator = self.allocator
        reads_weights = "ramp, formula, given, or another that reads weights"
        self._require("rates", not allocator.needs, reads_weights)
        text = allocator.text
        separable = len(split_outside(text, "+")) == len(split_outside(text, ",")) == 1
        object.__setattr__(self, "rates", text if separable else f"({text})")
        self._require("steps", self.steps >= 1, "1 or above")
        self._require("samples", self.samples >= 2, "2 or above")
        self._require("rate", self.rate > 0.0, "above 0")
        self._require("multiple", self.multiple >= 1, "1 or above")

    @property
    def allocator(self) -> Allocator:
        """What :attr:`rates` names."""
        return build_allocator(unbracketed(self.rates))

    @property
    def reads_text(self) -> bool:
        """False only for a choice by weights or at random, without fit or search."""
        by_weights = self.score in ("magnitude", "random")
        return self.fit or self.search == "policy" or not by_weights

    @property
    def stochastic(self) -> bool:
        """Whether the seed matters."""
        return self.score == "random" or self.search == "policy"

    def shapes_only(self) -> Scheme:
        """See :meth:`Scheme.shapes_only`."""
        return replace(self, score="random", fit=False, search="none")

    def plan(
        self,
        model: PreTrainedModel,
        windows: Tensor | None,
        target: float,
        *,
        seed: int = 0,
        report: Report = silent,
    ) -> SchemePlan:
        """Remove the lowest-scoring units; each block sees the narrowed ones before it."""
        layout = unit_layout(model, attention=self.parts == "both")
        if layout.neurons % self.multiple:
            raise UsageError(
                f"multiple {self.multiple} does not divide the {layout.neurons} neurons of a "
                "block; take a divisor of it"
            )
        before = sum(block_parameters(model))
        neurons, groups = self.shape(layout, before, target)
        kept = [neurons] * len(layout.blocks)
        if self.rates != UNIFORM:
            kept = self._spread(model, layout, target * before, groups, seed)
        lost = (len(kept) * layout.neurons - sum(kept)) * layout.neuron_parameters
        lost += len(kept) * (layout.groups - groups) * layout.group_parameters
        facts = {"neurons": [layout.neurons, alike(kept)], "groups": [layout.groups, groups]}
        after = before - lost
        notes: tuple[str, ...] = (UNEQUAL,) if len(set(kept)) > 1 else ()
        # Only where the model's own number suits runtimes; what it never had is not lost.
        if not layout.neurons % PACKED and any(count % PACKED for count in kept):
            notes += (ODD,)
        steps: tuple[Step, ...] = ()
        if lost:
            chooser = _Chooser(self, model, windows, layout, kept, groups, seed, report)
            step = chooser.step()
            if self.search == "policy":
                step = chooser.learned_step()
            steps = (step,)
        return SchemePlan(self.text, target, steps, before, after, {"width": facts}, notes)

    def shape(self, layout: UnitLayout, parameters: int, target: float) -> tuple[int, int]:
        """Numbers of neurons and groups to keep in each block.

        Args:
            layout: Units of the model.
            parameters: Parameters of all blocks.
            target: Share of them to remove.

        Raises:
            UsageError: If a block would be left without a neuron or without a group.
        """
        goal = target * parameters / len(layout.blocks)
        # Keep groups by their share, rounded up to what shapes allow; fewer if neurons cannot make
        # up the rest.
        least = (1.0 - target) * layout.groups - 1e-9
        fitting = [count for count in layout.group_counts if count >= least][-1]
        for groups in (count for count in layout.group_counts if count <= fitting):
            rest = goal - (layout.groups - groups) * layout.group_parameters
            fewer = self.multiple * self._packs(layout, rest)
            if fewer < layout.neurons:
                return layout.neurons - fewer, groups
        raise UsageError(
            f"a share of {target:g} leaves no neuron or no attention group in a block; lower it, "
            "or remove blocks too: --scheme depth+width"
        )

    def _spread(
        self, model: PreTrainedModel, layout: UnitLayout, goal: float, groups: int, seed: int
    ) -> list[int]:
        """Neurons that each block keeps; with the groups, they meet the goal to half a neuron."""
        goal -= len(layout.blocks) * (layout.groups - groups) * layout.group_parameters
        names = {entry.reader("mlp") for entry in layout.blocks}
        readers = [linear for linear in prunable_linears(model) if linear.name in names]
        packs = layout.neurons // self.multiple
        numels = {linear.name: packs for linear in readers}
        share = self._packs(layout, goal) / sum(numels.values())
        raw = self.allocator.rates(ModelContext(readers), share)
        # At least one pack stays in every block.
        rates = project(raw, numels, share, upper=1.0 - 1.0 / packs)
        quotas = layer_quotas(rates, numels, share)
        return [layout.neurons - self.multiple * gone for gone in quotas.values()]

    def _packs(self, layout: UnitLayout, parameters: float) -> int:
        """Packs of ``multiple`` neurons that hold about so many parameters."""
        return max(round(parameters / layout.neuron_parameters / self.multiple), 0)


class _Chooser:
    """Walks the blocks once: scores, choice, new weights."""

    def __init__(
        self,
        scheme: Width,
        model: PreTrainedModel,
        windows: Tensor | None,
        layout: UnitLayout,
        neurons: Sequence[int],
        groups: int,
        seed: int,
        report: Report,
    ) -> None:
        self.scheme = scheme
        self.model = model
        self.windows = windows
        self.layout = layout
        # Units to keep in each block.
        self.count = {"mlp": neurons, "attention": [groups] * len(neurons)}
        self.report = report
        self.generator = torch.Generator().manual_seed(seed)
        self.linears = {linear.name: linear for linear in prunable_linears(model)}
        # By reader: scores that decided, and scores given to decide.
        self.seen: dict[str, Tensor] = {}
        self.given: Mapping[str, Tensor] = {}
        self.count_of = {
            entry.reader(kind): count
            for kind in self._kinds()
            for entry, count in zip(layout.blocks, self.count[kind], strict=True)
        }
        self.values: Mapping[str, Tensor] = {}
        if scheme.score == "taylor":
            assert windows is not None
            self.values = taylor_products(model, windows, report=report)
        elif scheme.score == "magnitude":
            self.values = {name: p.detach().abs() for name, p in model.named_parameters()}
        self.stream: BlockStream | None = None

    @torch.no_grad()
    def step(self) -> Step:
        """Choose in all blocks; the model is left unchanged."""
        if self.scheme.fit or self.scheme.score in _BY_INPUTS:
            assert self.windows is not None
            self.stream = BlockStream(self.model, self.windows)
        kept: dict[str, list[tuple[int, ...]]] = {"mlp": [], "attention": []}
        kinds = self._kinds()
        readers = [entry.reader(kind) for entry in self.layout.blocks for kind in kinds]
        parameters = dict(self.model.named_parameters())
        held = {f"{name}.weight": parameters[f"{name}.weight"].detach() for name in readers}
        with written(self.model, held):
            for number, entry in enumerate(self.layout.blocks):
                for kind in kinds:
                    kept[kind].append(self._narrow(entry, kind, self.count[kind][number]))
                if self.stream is not None:
                    self.stream.advance()
                self.report(Progress("width", number + 1, len(self.layout.blocks)))
            weights = {name: parameters[name].detach().clone() for name in held}
        return Step(neurons=tuple(kept["mlp"]), groups=tuple(kept["attention"]), weights=weights)

    def learned_step(self) -> Step:
        """Learn which units to keep, starting from the last step's scores, and choose again."""
        assert self.windows is not None
        names = list(self.seen)
        counts = [self.count_of[name] for name in names]
        start = [start_from(self.seen[n].double(), c) for n, c in zip(names, counts, strict=True)]
        loss_of = masked_loss(self.model, self.windows, [self.linears[n].owner for n in names])
        scheme = self.scheme
        learned = learn(
            loss_of,
            start,
            counts,
            steps=scheme.steps,
            samples=scheme.samples,
            rate=scheme.rate,
            generator=self.generator,
            report=self.report,
        )
        self.given = dict(zip(names, learned, strict=True))
        return self.step()

    def _kinds(self) -> list[str]:
        """What gets narrower: attention first, then neurons, given the narrower attention."""
        return [k for k in ("attention", "mlp") if min(self.count[k]) < self._units(k)]

    def _units(self, kind: str) -> int:
        return self.layout.neurons if kind == "mlp" else self.layout.groups

    def _narrow(self, entry: BlockUnits, kind: str, count: int) -> tuple[int, ...]:
        """Zero the columns of removed units in the matrix that reads them, and fit the rest."""
        linear = self.linears[entry.reader(kind)]
        stats = self._stats(linear)
        scores = self.given.get(linear.name)
        if scores is None:
            scores = self.seen[linear.name] = self._scores(entry, kind, linear, stats)
        chosen = scores.topk(count).indices.sort().values
        keep = tuple(chosen.tolist())
        columns = chosen if kind == "mlp" else self.layout.query_rows(keep)
        linear.write(narrowed(linear.read(), columns, stats.get("gram")))
        return keep

    def _stats(self, linear: PrunableLinear) -> Mapping[str, Tensor]:
        needs = {"gram"} if self.scheme.fit else set()
        needs |= {"wanda": {"x_norm"}, "flap": {"x_var"}}.get(self.scheme.score, set())
        if self.stream is None or not needs:
            return {}
        block = self.stream.blocks[self.stream.position]
        with BlockRecorder(block, [linear], needs, inputs_only=True) as recorder:
            self.stream.run()
        return recorder.results()[linear.name]

    def _scores(
        self, entry: BlockUnits, kind: str, linear: PrunableLinear, stats: Mapping[str, Tensor]
    ) -> Tensor:
        """Score of each unit; the lowest are removed first."""
        if self.scheme.score == "random":
            return torch.rand(self._units(kind), generator=self.generator)
        weight = linear.read().float().cpu()
        if self.scheme.score == "wanda":
            by_column = weight.abs().mean(0) * stats["x_norm"]
        elif self.scheme.score == "flap":
            by_column = weight.square().sum(0) * stats["x_var"]
        else:
            return self._over_units(entry, kind)
        return by_column.double().reshape(self._units(kind), -1).sum(1)

    def _over_units(self, entry: BlockUnits, kind: str) -> Tensor:
        """Values of all weights of each unit, summed."""
        total = torch.zeros(self._units(kind), dtype=torch.float64)
        reader = entry.reader(kind)
        for name in entry.writers(kind):
            values = self.values[f"{name}.weight"].cpu().double().sum(1)
            total += values.reshape(len(total), -1).sum(1)
        values = self.values[f"{reader}.weight"].cpu().double().sum(0)
        return total + values.reshape(len(total), -1).sum(1)


def unbracketed(rates: str) -> str:
    """The allocator's text in rates that may be in brackets."""
    text = rates.strip()
    return text[1:-1] if text[:1] + text[-1:] == "()" else text


def narrowed(weight: Tensor, columns: Tensor, gram: Tensor | None) -> Tensor:
    """Restrict a matrix to some of its inputs; the other columns become zero.

    Args:
        weight: [o, i].
        columns: Inputs that stay, int64 [k].
        gram: Mean of ``x x^T``, [i, i]: the columns that stay are fitted to the whole output by
            least squares, damped towards their old values. None leaves them unchanged.
    """
    result = torch.zeros_like(weight)
    columns = columns.to(weight.device)
    result[:, columns] = weight[:, columns]
    if gram is None:
        return result
    gone = torch.ones(weight.shape[1], dtype=torch.bool, device=weight.device)
    gone[columns] = False
    lost = in_float64(weight[:, gone])
    h = gram.double().to(lost.device)
    columns, gone = columns.to(h.device), gone.to(h.device)
    inner = h[columns][:, columns]
    inner.diagonal().add_(_DAMPING * inner.diagonal().mean().clamp_min(1e-12))
    moved = lost @ h[gone][:, columns]
    change = torch.cholesky_solve(moved.T, torch.linalg.cholesky(inner)).T
    result[:, columns.to(weight.device)] += change.to(weight)
    return result
