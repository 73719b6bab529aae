"""A recipe as one line: ``METRIC+PART+...``, the metric first.

``wanda``, ``ria+matrix``, ``wanda+sdsa:strength=0.2``, ``wanda+ramp+dsnot+mrp``,
``wanda+sequential``, ``expr:(abs(W) * x_norm)+ramp``, ``wanda+formula:(0.1*depth + 0.05*first)``,
``program:FILE.py+ebft``. ``sparsegpt`` is the published method with its weight update;
``sparsegpt+none`` is its score alone. A program returns new weights and is always sequential.
"""

from dataclasses import dataclass
from typing import Any, cast, get_args

from autoprune.allocation import ALLOCATORS, build_allocator
from autoprune.allocation.selection import UNIFORM
from autoprune.candidate import FORMULA_PREFIX, Group, StatisticsOf
from autoprune.errors import UnknownNameError, UsageError
from autoprune.metrics import METRICS, Metric, build_metric
from autoprune.metrics.building import ExpressionMetric
from autoprune.program_files import PROGRAM_PREFIX, in_file, is_program, program_source
from autoprune.repair import NONE, REPAIRS, Repair
from autoprune.spelling import split_outside

GROUPS = get_args(Group)
MODES = get_args(StatisticsOf)
# The published SparseGPT is the repair that selects by the weights it has already updated.
SPARSEGPT, SPARSEGPT_UPDATE = "sparsegpt", "sparsegpt:select=own"


@dataclass(frozen=True)
class RecipeText:
    """The parts of a recipe line, each in canonical form.

    Args:
        metric: Canonical text of the metric.
        group: Weights that compete with each other.
        allocation: Canonical text of the allocator.
        repair: Canonical text of the repair.
        statistics: ``dense``: one pass of the dense model serves all layers; ``sequential``: each
            block sees the pruned blocks before it.
        source: Source of a program, for which ``metric`` only names the location; empty otherwise.
    """

    metric: str
    group: Group = "row"
    allocation: str = UNIFORM
    repair: str = NONE
    statistics: StatisticsOf = "dense"
    source: str = ""

    @property
    def text(self) -> str:
        """The shortest line that :func:`read_recipe` reads back."""
        parts = [self.metric]
        if self.group != natural_group(self.metric):
            parts.append(self.group)
        if self.allocation != UNIFORM:
            parts.append(_bracketed(self.allocation))
        if self.repair != _published(self.metric):
            parts.append(self.repair)
        if self.statistics != "dense" and not self.source:
            parts.append(self.statistics)
        return "+".join(parts)


def read_recipe(text: str, statistics: StatisticsOf = "dense") -> RecipeText:
    """Parse a recipe line."""
    head, *parts = split_outside(text, "+")
    by_program = is_program(head)
    found: dict[str, list[str]] = {"group": [], "statistics": [], "allocation": [], "repair": []}
    for part in parts:
        name = part.partition(":")[0].strip()
        kind = _kind_of(name)
        if kind is None:
            known = {*GROUPS, *MODES, *_names(ALLOCATORS), *_names(REPAIRS)}
            raise UnknownNameError("part of a method", name, known)
        if kind in ("group", "statistics") and part != name:
            raise UsageError(
                f"{part!r} in method {text!r}: {name} takes no parameters; write {name} alone"
            )
        found[kind].append(part)
    for kind in ("group", "statistics", "allocation"):
        if len(found[kind]) > 1:
            raise UsageError(
                f"method {text!r} names {kind} {len(found[kind])} times "
                f"({', '.join(found[kind])}); name it once"
            )
    if by_program:
        if "dense" in found["statistics"]:
            raise UsageError(
                f"method {text!r} names dense statistics, and a program gets the inputs that its "
                "layer really has, block after block; leave dense out"
            )
        canonical, natural, statistics = head.strip(), natural_group(head), "sequential"
    else:
        metric = build_metric(_metric_text(text, head))
        canonical, natural = _canonical_metric(metric), metric.group
    return RecipeText(
        metric=canonical,
        group=cast(Group, (found["group"] or [natural])[0]),
        allocation=build_allocator((found["allocation"] or [UNIFORM])[0]).text,
        repair=Repair.parse("+".join(found["repair"]) or _published(canonical)).text,
        statistics=cast(StatisticsOf, (found["statistics"] or [statistics])[0]),
        source=program_source(canonical.removeprefix(PROGRAM_PREFIX)) if by_program else "",
    )


def natural_group(metric: str) -> Group:
    """The comparison group used by a metric's authors."""
    return "row" if is_program(metric) else build_metric(metric).group


def _bracketed(allocation: str) -> str:
    """The allocation, with a formula that adds terms in brackets: ``+`` separates parts."""
    if len(split_outside(allocation, "+")) == 1:
        return allocation
    name, _, formula = allocation.rpartition(":")
    return f"{name}:({formula})"


def _published(metric: str) -> str:
    return SPARSEGPT_UPDATE if metric == SPARSEGPT else NONE


def _metric_text(text: str, head: str) -> str:
    if in_file(head):
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
    return "repair" if name in REPAIRS else None


def _names(registry: Any) -> list[str]:
    return [name for name, _ in registry.items()]


def _canonical_metric(metric: Metric) -> str:
    if isinstance(metric, ExpressionMetric):
        return f"{FORMULA_PREFIX}({metric.formula})"
    usual = METRICS.get(metric.name).params
    changed = [f"{k}={v:.12g}" for k, v in metric.params.items() if v != usual[k]]
    return f"{metric.name}:{','.join(changed)}" if changed else metric.name
