"""The record of a search, from which pictures and the HTML report are drawn.

Plain frozen dataclasses, readable and writable as JSON. They hold finished values only: nothing
here measures, and nothing here needs the search that made them.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from autoprune.errors import DamagedFileError, UsageError
from autoprune.report.benefit import Outcome
from autoprune.report.counted import Counted
from autoprune.report.evidence import DriftCheck, Margin, WinnerChange
from autoprune.report.parts import Part
from autoprune.report.sealed import SealedSet
from autoprune.search_settings import Verdict
from autoprune.storage import write_json

SCHEMA_VERSION = 1
# How a run ends that has not ended.
UNFINISHED = "still running or interrupted"
_AGAIN = "`autoprune ls candidates --run NAME` writes it again"

EntryKind = Literal["baseline", "candidate"]


@dataclass(frozen=True)
class Split(Part):
    """One part of the text.

    Args:
        name: ``calibration``, ``selection`` or ``sealed``.
        documents: Documents in this part.
        tokens: Tokens used from it.
        digest: SHA-256 of the text.
        uses: How often it was read to judge something; for the sealed part, by all runs so far.
        windows: Windows used from it; 0 where a record does not say.
    """

    name: str
    documents: int
    tokens: int
    digest: str
    uses: int | None = None
    windows: int = 0


@dataclass(frozen=True)
class SharedText(Part):
    """Documents of one part that still share a run of words with another part after the split.

    Args:
        first: The part whose documents were checked.
        second: The part they were checked against.
        words: Length of the run.
        checked: Documents of ``first``.
        shared: Documents of ``first`` that share one.
    """

    first: str
    second: str
    words: int
    checked: int
    shared: int


@dataclass(frozen=True)
class StageTime(Part):
    """Wall-clock seconds that one stage of the run took."""

    name: str
    seconds: float


@dataclass(frozen=True)
class Command(Part):
    """A command that a reader may type next, with one line on what it does."""

    label: str
    text: str


@dataclass(frozen=True)
class Point(Part):
    """One more measurement of the same recipe at another sparsity (selection split)."""

    sparsity: float
    perplexity: float


@dataclass(frozen=True)
class ReportEntry(Part):
    """One line of the leaderboard: a recipe with everything known about it, in plain values.

    Args:
        id: Unique in the run.
        alias: Short name that people and prompts use, for example ``C12`` or ``wanda``.
        kind: Hand-made ``baseline`` or designed ``candidate``.
        order: Position in which it was designed, from 1; 0 for baselines.
        rank: Place by the ranking figure of the search, from 1; None if it has none.
        verdict: ``stopped`` means that it was dropped early: its perplexity is of few windows;
            ``unmeasured`` that the search has not measured it yet.
        formula: The metric in the metric language if it can be written so, else its name.
        latex: The same for papers.
        source: What ran: expression, Python source or registry name.
        language: ``expression``, ``python`` or ``builtin``.
        group: Weights that compete with each other.
        allocation: Allocator with its parameters.
        solver: Weight repair.
        metric_counts: False if the repair chose what to prune and the metric had no part in it.
        operator: How it was made, for example ``exploit``.
        author: Who wrote it: hand, the language model, or the move that made it.
        model: Which of several models wrote it; empty if there was only one, or none.
        parents: Ids of the entries it was made from.
        reasoning: The designer's words.
        prediction: What the designer expected to measure.
        perplexity: On the selection split, at the highest rung reached.
        rungs: Perplexity by rung name, in order.
        masks_alone: The rung in ``rungs`` that left something out; empty for none.
        left_out: What it left out, in words: the repair, or calibration windows of a program.
        change_vs_wanda: Relative change of perplexity; -0.1 is 10 % lower than the reference's.
        change_interval: 95 % interval of ``change_vs_wanda`` from paired windows.
        sparsity: Share of zeros among prunable weights, counted.
        curve: The same recipe at other sparsities.
        draws: Perplexity on the selection split with each draw of calibration text, the search's
            own first; empty if there was no other draw.
        kl: Mean distance to the dense model, nats per token, if it was measured.
        layer_sparsity: Share of zeros by linear.
        sealed_perplexity: On the sealed split, for the few entries measured there.
        sealed_failure: Why a planned sealed perplexity is missing; empty otherwise.
        code: Why it was rejected, for example ``nan_scores``; empty otherwise.
        detail: One line that explains ``code``.
        seconds: Time it took, over all rungs.
        front: Whether nothing in the run matches it in both speed and quality.
        tokens: Tokens of its designer calls, prompts and answers together.
    """

    id: str
    alias: str
    kind: EntryKind
    formula: str
    order: int = 0
    rank: int | None = None
    verdict: Verdict = "accepted"
    latex: str = ""
    source: str = ""
    language: str = "expression"
    group: str = "row"
    allocation: str = "uniform"
    solver: str = "none"
    metric_counts: bool = True
    operator: str = ""
    author: str = ""
    model: str = ""
    parents: tuple[str, ...] = ()
    reasoning: str = ""
    prediction: str = ""
    perplexity: float | None = None
    rungs: Mapping[str, float] = field(default_factory=dict)
    masks_alone: str = ""
    left_out: str = "masks alone"
    change_vs_wanda: float | None = None
    change_interval: tuple[float, float] | None = None
    sparsity: float | None = None
    curve: tuple[Point, ...] = ()
    draws: tuple[float, ...] = ()
    kl: float | None = None
    layer_sparsity: Mapping[str, float] = field(default_factory=dict)
    sealed_perplexity: float | None = None
    sealed_failure: str = ""
    code: str = ""
    detail: str = ""
    seconds: float = 0.0
    front: bool = False
    tokens: int = 0

    def __post_init__(self) -> None:
        if (self.verdict == "rejected") != bool(self.code):
            raise ValueError(
                f"entry {self.id!r} has verdict {self.verdict!r} and code {self.code!r}; "
                "a rejection has a code and nothing else has one; set both or neither"
            )

    @property
    def measured(self) -> bool:
        """Whether it has a finite perplexity that may be compared with others."""
        ranked = self.verdict in ("winner", "accepted")
        return ranked and self.perplexity is not None and math.isfinite(self.perplexity)

    @property
    def has_masks_alone(self) -> bool:
        """Whether its only figure leaves something out, as it stopped after few windows."""
        return bool(self.masks_alone) and set(self.rungs) == {self.masks_alone}


@dataclass(frozen=True)
class ReportNode(Part):
    """One node of the reasoning graph.

    Args:
        id: Unique in the run.
        kind: ``task``, ``observation``, ``hypothesis``, ``mechanism``, ``code``, ``result``,
            ``critique`` or ``lesson``; others are drawn too.
        label: A few words.
        alias: Short name, for example ``H7``.
        entry: Id of the leaderboard entry it belongs to; empty if none.
        body: All its content, by field name: prompt, answer, formula, measurements.
        cost: What it cost, by unit: tokens, seconds.
    """

    id: str
    kind: str
    label: str
    alias: str = ""
    entry: str = ""
    body: Mapping[str, Any] = field(default_factory=dict)
    cost: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ReportEdge(Part):
    """A typed edge from a newer node (``source``) to an older one (``target``)."""

    source: str
    target: str
    kind: str


@dataclass(frozen=True)
class RunReport(Part, Counted):
    """Everything worth showing about a search.

    Args:
        run_id: Id of the run.
        created: When it started, ISO 8601.
        model: Reference of the pruned model.
        corpus: Reference of the text.
        sparsity: Target share of zeros among prunable weights; None with a goal.
        dense_perplexity: Perplexity of the model before pruning, selection split.
        entries: Leaderboard, including baselines and rejected entries.
        dense_sealed_perplexity: The same on the sealed split.
        model_digest: SHA-256 of the model files.
        pattern: ``unstructured`` or N:M.
        designer: Who designed, for example the name of the language model.
        splits: Calibration, selection, sealed.
        overlap: Text that these share despite the split, by pair and length.
        spec: The whole search specification.
        machine: What it ran on, by name: CPU, memory, versions.
        command: What was typed.
        stages: Time by stage, in order.
        ended: Why the search ended, in words.
        layer_numel: Weights by prunable linear, in model order.
        nodes: Reasoning graph, oldest first.
        edges: Reasoning graph.
        next_commands: What a reader may type next.
        margins: How certain the choice of the winner is: against the runner-up, the reference.
        contrasts: The winner's perplexity against the best start and the reference, on selection
            and sealed text.
        rung_correlation: How similarly few windows and the others rank recipes (Spearman), those of
            one repair among each other.
        rung_pairs: Number of recipes behind it.
        layer_correlation: How similarly the error on a few real layers and the whole model rank
            masks, or programs, of one allocation (Spearman).
        layer_pairs: Number of these behind it.
        checks: What was measured again to detect drift.
        beginning_token: What stands before every window, ``none`` for nothing; empty if unknown.
        sealed_set: The sealed set and the looks at it before this search; None if unknown.
        quantised: Type that the model's file is quantised to, such as ``Q4_1``; empty if it is not.
        outcome: What was saved of the winner; None before that, and in earlier records.
        forecasts: How good the designer's forecasts were, on one line; empty without any.
        goal: A budget in bytes or speed, in words such as ``25 % fewer bytes``; empty: a share.
        schema_version: Version of this format.
    """

    run_id: str
    created: str
    model: str
    corpus: str
    sparsity: float | None
    dense_perplexity: float | None
    entries: tuple[ReportEntry, ...]
    dense_sealed_perplexity: float | None = None
    model_digest: str = ""
    pattern: str = "unstructured"
    designer: str = ""
    splits: tuple[Split, ...] = ()
    overlap: tuple[SharedText, ...] = ()
    spec: Mapping[str, Any] = field(default_factory=dict)
    machine: Mapping[str, str] = field(default_factory=dict)
    command: str = ""
    stages: tuple[StageTime, ...] = ()
    ended: str = ""
    layer_numel: Mapping[str, int] = field(default_factory=dict)
    nodes: tuple[ReportNode, ...] = ()
    edges: tuple[ReportEdge, ...] = ()
    next_commands: tuple[Command, ...] = ()
    margins: tuple[Margin, ...] = ()
    contrasts: tuple[WinnerChange, ...] = ()
    rung_correlation: float | None = None
    rung_pairs: int = 0
    layer_correlation: float | None = None
    layer_pairs: int = 0
    checks: tuple[DriftCheck, ...] = ()
    beginning_token: str = ""
    sealed_set: SealedSet | None = None
    quantised: str = ""
    outcome: Outcome | None = None
    forecasts: str = ""
    goal: str = ""
    schema_version: int = SCHEMA_VERSION

    @property
    def ranked(self) -> tuple[ReportEntry, ...]:
        """Entries with a comparable perplexity, best first by the ranking figure of the search."""
        return tuple(sorted((e for e in self.entries if e.measured), key=_by_rank))

    @property
    def candidates(self) -> tuple[ReportEntry, ...]:
        """Designed entries, in the order they were designed."""
        found = (entry for entry in self.entries if entry.kind == "candidate")
        return tuple(sorted(found, key=lambda entry: (entry.order, entry.id)))

    @property
    def winner(self) -> ReportEntry | None:
        """The entry with the verdict ``winner``, of any origin, else the best designed one."""
        best = [e for e in self.ranked if e.kind == "candidate"]
        named = (e for e in self.ranked if e.verdict == "winner")
        return next(named, best[0] if best else None)

    def baseline(self, name: str) -> ReportEntry | None:
        """The measured baseline with this alias, case ignored."""
        name = name.lower()
        found = (e for e in self.ranked if e.kind == "baseline" and e.alias.lower() == name)
        return next(found, None)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "RunReport":
        """Inverse of :meth:`to_json`."""
        version = value.get("schema_version")
        if version != SCHEMA_VERSION:
            raise UsageError(
                f"this report has format {version!r}, this program reads format {SCHEMA_VERSION}; "
                + _AGAIN
            )
        try:
            return _adapter().validate_python(value)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            raise UsageError(
                f"not a run report: {place}: {first['msg']} ({error.error_count()} errors in all); "
                + _AGAIN
            ) from error


def write_report(report: RunReport, path: Path) -> None:
    """Write ``report`` as JSON, atomically."""
    write_json(path, report.to_json())


def read_report(path: Path) -> RunReport:
    """Read what :func:`write_report` wrote."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError(f"no report at {path}; name a run that has one") from error
    except ValueError as error:
        raise DamagedFileError(f"{path} is not JSON ({error}); {_AGAIN}") from error
    if not isinstance(value, dict):
        raise UsageError(f"{path} holds no run report; name the JSON file of a run")
    return RunReport.from_json(value)


@cache
def _adapter() -> "TypeAdapter[RunReport]":
    return TypeAdapter(RunReport)


def _by_rank(entry: ReportEntry) -> tuple[float, float, int, str]:
    rank = math.inf if entry.rank is None else float(entry.rank)
    perplexity = math.inf if entry.perplexity is None else entry.perplexity
    return (rank, perplexity, entry.order, entry.id)
