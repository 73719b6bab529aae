"""What is compared: a method is a metric x group x allocation x solver x statistics.

Spelled with the words of ``autoprune prune``, joined by ``+``, the metric first: ``wanda``,
``ria+matrix``, ``wanda+sdsa:strength=0.2``, ``wanda+ramp+dsnot+mrp``, ``wanda+sequential``,
``expr:(abs(W) * x_norm)+ramp``. ``sparsegpt`` means the published method, with its update of the
weights; ``sparsegpt+none`` is its score alone.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, cast, get_args

from autoprune.allocation import ALLOCATORS, build_allocator
from autoprune.comparison.spelling import split_list, split_outside
from autoprune.errors import UnknownNameError, UsageError
from autoprune.metrics import METRICS, Metric, build_metric
from autoprune.metrics.building import FORMULA_PREFIX, ExpressionMetric
from autoprune.recipe import Group
from autoprune.repair import EBFT, SOLVERS, Repair

StatisticsOf = Literal["dense", "sequential"]
GROUPS = get_args(Group)
MODES = get_args(StatisticsOf)
# The solver that chooses by the weights it has already updated is the published SparseGPT.
SPARSEGPT, SPARSEGPT_UPDATE = "sparsegpt", "sparsegpt:select=own"
NONE, UNIFORM = "none", "uniform"
PEER = "llm-compressor"
PEER_METHODS = ("wanda", "sparsegpt")


@dataclass(frozen=True)
class Method:
    """One row of a comparison.

    Args:
        metric: Canonical text of the metric.
        group: Weights that compete with each other.
        allocation: Canonical text of the allocator.
        solver: Canonical text of the solver.
        statistics: ``dense``: one pass of the dense model serves all layers; ``sequential``: each
            block sees the pruned blocks before it.
        peer: Tool that runs the metric of this name in an environment of its own.
    """

    metric: str
    group: Group = "row"
    allocation: str = UNIFORM
    solver: str = NONE
    statistics: StatisticsOf = "dense"
    peer: str | None = None

    @property
    def name(self) -> str:
        """Shortest spelling that :func:`parse_method` reads back."""
        if self.peer is not None:
            return f"{self.peer}:{self.metric}"
        parts = [self.metric]
        if self.group != natural_group(self.metric):
            parts.append(self.group)
        if self.allocation != UNIFORM:
            parts.append(self.allocation)
        published = SPARSEGPT_UPDATE if self.metric == SPARSEGPT else NONE
        if self.solver != published:
            parts.append(self.solver)
        if self.statistics != "dense":
            parts.append(self.statistics)
        return "+".join(parts)

    @property
    def stochastic(self) -> bool:
        """Whether the seed matters beyond the draw of calibration windows.

        It draws random scores and shuffled budgets, and orders the steps of a tuning.
        """
        return "random" in self.metric or "shuffled" in self.allocation or self.tunes

    @property
    def tunes(self) -> bool:
        """Whether blocks are tuned as a whole, by products that a processor may round."""
        return EBFT in self.solver

    def to_json(self) -> dict[str, Any]:
        """Plain JSON form."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Method":
        """Inverse of :meth:`to_json`."""
        return cls(**value)


def parse_method(text: str, statistics: StatisticsOf = "dense") -> Method:
    """Read one method.

    Args:
        text: See the module.
        statistics: What holds where the text says neither ``dense`` nor ``sequential``.

    Raises:
        UnknownNameError: If a part is unknown; suggests the nearest.
        UsageError: If a part occurs twice or has a wrong parameter.
    """
    head, *parts = split_outside(text, "+")
    peer, _, own = head.partition(":")
    if peer == PEER:
        return _peer_method(text, own, parts)
    metric = build_metric(_metric_text(text, head))
    found: dict[str, list[str]] = {"group": [], "statistics": [], "allocation": [], "solver": []}
    for part in parts:
        name = part.partition(":")[0].strip()
        kind = _kind_of(name)
        if kind is None:
            known = {*GROUPS, *MODES, *_names(ALLOCATORS), *_names(SOLVERS)}
            raise UnknownNameError("part of a method", name, known)
        found[kind].append(part)
    for kind in ("group", "statistics", "allocation"):
        if len(found[kind]) > 1:
            raise UsageError(
                f"method {text!r} names {kind} {len(found[kind])} times "
                f"({', '.join(found[kind])}); name it once"
            )
    canonical = _canonical_metric(metric)
    published = SPARSEGPT_UPDATE if canonical == SPARSEGPT else NONE
    return Method(
        metric=canonical,
        group=cast(Group, (found["group"] or [metric.group])[0]),
        allocation=build_allocator((found["allocation"] or [UNIFORM])[0]).text,
        solver=Repair.parse("+".join(found["solver"]) or published).text,
        statistics=cast(StatisticsOf, (found["statistics"] or [statistics])[0]),
    )


def parse_methods(
    texts: str | Iterable[str], statistics: StatisticsOf = "dense"
) -> tuple[Method, ...]:
    """Read a list of methods; each is kept once, in the order given.

    Raises:
        UsageError: If one of them is wrong or none is given.
    """
    items = split_list(texts) if isinstance(texts, str) else list(texts)
    methods = tuple(dict.fromkeys(parse_method(item, statistics) for item in items))
    if not methods:
        raise UsageError("no method to compare; name at least one, for example wanda,wanda+ramp")
    return methods


def crossed(
    metrics: Sequence[str], allocations: Sequence[str], solvers: Sequence[str]
) -> list[str]:
    """Texts of all combinations; an empty list stands for the part's default."""
    texts = []
    for metric in metrics:
        for allocation in allocations or [UNIFORM]:
            texts += ["+".join(filter(None, (metric, allocation, s))) for s in solvers or [""]]
    return texts


def natural_group(metric: str) -> Group:
    """The group that a metric's authors compare within."""
    return build_metric(metric).group


def seeded_metric(method: Method, seed: int) -> Metric:
    """The metric object; the random control draws anew for every seed."""
    if method.metric == "random":
        return build_metric(f"random:seed={seed}")
    return build_metric(method.metric)


def with_allocation(method: Method, allocation: str) -> Method:
    """The same method with another layer budget."""
    return replace(method, allocation=allocation)


def _peer_method(text: str, own: str, parts: list[str]) -> Method:
    if own not in PEER_METHODS:
        raise UnknownNameError(f"method of {PEER}", own, PEER_METHODS)
    if parts:
        raise UsageError(f"method {text!r}: {PEER} takes no further parts; write {PEER}:{own}")
    return Method(metric=own, peer=PEER, statistics="sequential")


def _metric_text(text: str, head: str) -> str:
    if head.endswith(".py"):
        raise UsageError(
            f"method {text!r} is a Python file, which only the sandbox may run; a comparison takes "
            "built-in names and formulas; try the file with `autoprune validate`"
        )
    if not head:
        raise UsageError(f"method {text!r} has no metric; write METRIC+PART+..., metric first")
    return head


def _kind_of(name: str) -> str | None:
    if name in GROUPS:
        return "group"
    if name in MODES:
        return "statistics"
    if name in ALLOCATORS:
        return "allocation"
    return "solver" if name in SOLVERS else None


def _names(registry: Any) -> list[str]:
    return [name for name, _ in registry.items()]


def _canonical_metric(metric: Metric) -> str:
    if isinstance(metric, ExpressionMetric):
        return f"{FORMULA_PREFIX}({metric.formula})"
    usual = METRICS.get(metric.name).params
    changed = [f"{k}={v:.12g}" for k, v in metric.params.items() if v != usual[k]]
    return f"{metric.name}:{','.join(changed)}" if changed else metric.name
