r"""Suite ``live``: questions newer than the model, after LiveAoPSBench (arXiv 2501.14275).

Only items that became public after the model's declared training cutoff count. The slope of
accuracy against date shows how much a model gains from having seen the older ones. No data is
shipped: the loader reads the published files.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import Any

from autoprune.digest import digest_file, digest_json
from autoprune.errors import UsageError
from autoprune.evaluation.finite import NotFiniteError, finite_logits
from autoprune.evaluation.generation import check_length, greedy_replies
from autoprune.evaluation.grading.grader import GRADER_VERSION, Grade, Grader
from autoprune.evaluation.intervals import bootstrap_slope
from autoprune.evaluation.suites.cleaning import NO_RESOURCES, Resources, clean
from autoprune.evaluation.suites.dated import (
    DatedItem,
    last_day,
    load_dated_items,
    newest_window,
)
from autoprune.evaluation.suites.provenance import model_protocol, model_provenance
from autoprune.evaluation.suites.rows import Row, RowContext
from autoprune.evaluation.suites.suite import SUITES
from autoprune.models.loading import LoadedModel
from autoprune.progress import Report, silent
from autoprune.text.conversations import asked
from autoprune.text.corpora import load_corpus
from autoprune.text.hygiene import decontaminate

# 2: a prompt never has two beginning tokens; the answer is what the solutions box.
# 3: generation settings of the checkpoint have no effect; solutions vote by equal answers, however
# written.
# 4: a reply ends before a problem that the model makes up.
VERSION = 4
# A base model that has answered goes on with a problem of its own, whose box comes last.
_STOP = ("\nProblem:",)
# What rows are of.
FRESH, SEEN, SLOPE = "after cutoff", "up to cutoff", "slope"
_METRICS = {FRESH: "accuracy", SEEN: "accuracy", SLOPE: "accuracy_per_year"}
OVERLAP_WORDS = 8
_TASK = "Solve the problem step by step and write the final answer inside \\boxed{}."
_SAMPLES = 5


@SUITES.register("live")
@dataclass(frozen=True)
class LiveSuite:
    """Accuracy after and before the training cutoff, and its slope over time.

    Args:
        items: A ``.jsonl`` or ``.parquet`` file of dated questions, or a folder of windows
            ``FIRST--LAST.jsonl``, of which the newest is taken.
        cutoff: The last day of the model's training data, as ``2024``, ``2024-03`` or a day; by
            default ``knowledge_cutoff`` of the model's configuration. A model without a declared
            cutoff is refused.
        references: Files whose text the items must not share (calibration, training), by name or
            path as for any corpus; items with 8 words in common are dropped.
        limit: Number of newest items to use; None for all.
        new_tokens: Longest reply in tokens.
        chat: Whether to use the model's chat template.
        batch: Prompts computed together.
        seed: Seed of the bootstrap.
    """

    items: str = ""
    cutoff: str | None = None
    references: tuple[str, ...] = ()
    limit: int | None = None
    new_tokens: int = 512
    chat: bool = False
    batch: int = 8
    seed: int = 0

    name = "live"

    def __post_init__(self) -> None:
        if not self.items:
            raise UsageError("the suite 'live' needs a file: live:items=FILE,cutoff=2024-03")
        if (self.limit or 1) < 1 or self.new_tokens < 1 or self.batch < 1:
            raise UsageError(
                f"limit {self.limit}, new_tokens {self.new_tokens}, batch {self.batch} is not "
                "possible; all are at least 1"
            )
        if self.cutoff is not None:
            last_day(self.cutoff)
        # Resolved here: a record names the window, not the folder it was in.
        object.__setattr__(self, "items", str(newest_window(Path(self.items).expanduser())))

    def computed_with(self) -> dict[str, Any]:
        """See :func:`autoprune.evaluation.suites.suite.computed_with`."""
        return {"grader": GRADER_VERSION}

    def check(self, loaded: LoadedModel, *, resources: Resources = NO_RESOURCES) -> None:
        """Read the items and make the prompts; see :class:`~autoprune.evaluation.suites.Suite`."""
        self._declared_cutoff(loaded)
        items, _, _ = self._chosen(loaded, resources)
        prompts = [self._prompt(loaded, item.question) for item in items]
        check_length(loaded, prompts, self.new_tokens)

    def run(
        self, loaded: LoadedModel, *, report: Report = silent, resources: Resources = NO_RESOURCES
    ) -> list[Row]:
        """Measure; see :class:`autoprune.evaluation.suites.suite.Suite`."""
        cutoff = self._declared_cutoff(loaded)
        items, notes, path = self._chosen(loaded, resources)
        with Grader() as grader:
            protocol: dict[str, Any] = {
                "version": VERSION, "cutoff": cutoff.isoformat(), "file": digest_file(path),
                "data": digest_json([[i.id, i.question, i.answer] for i in items]),
                "overlap_words": OVERLAP_WORDS, "new_tokens": self.new_tokens, "chat": self.chat,
                "batch": self.batch, "seed": self.seed, **grader.record(),
            }  # fmt: skip
            context = RowContext(
                self.name, model_protocol(loaded) | protocol, model_provenance(loaded), self.seed
            )
            prompts = [self._prompt(loaded, item.question) for item in items]
            try:
                with finite_logits(loaded.model):
                    replies = greedy_replies(
                        loaded, prompts, new_tokens=self.new_tokens, batch=self.batch,
                        stop=() if self.chat else _STOP, report=report,
                    )  # fmt: skip
            except NotFiniteError as error:
                return [
                    context.missing(name, metric, str(error), status="not_finite", details=notes)
                    for name, metric in _METRICS.items()
                ]
            grades = [
                grader.grade_reply(reply, item.answer)
                for item, reply in zip(items, replies, strict=True)
            ]
        return self._rows(items, grades, cutoff, context, notes)

    def _chosen(
        self, loaded: LoadedModel, resources: Resources
    ) -> tuple[list[DatedItem], dict[str, Any], Path]:
        """The items to measure on, what is known about them, and the file they come from."""
        path = Path(self.items).expanduser()
        read = load_dated_items(path)
        items, notes = self._clean(read.items, loaded, resources)
        items = items[-self.limit :] if self.limit else items
        notes |= {"unusable_rows": read.skipped, "tied_rows": read.ties}
        newest = read.items[-1].date
        age = (datetime.now(UTC).date() - newest).days
        notes |= {"window": path.name, "newest_item": newest.isoformat(), "age_days": age}
        return items, notes, path

    def _declared_cutoff(self, loaded: LoadedModel) -> date:
        declared = self.cutoff or getattr(loaded.model.config, "knowledge_cutoff", None)
        if declared is None:
            raise UsageError(
                f"the model {loaded.source.ref!r} has no declared training cutoff, so nobody can "
                "say which items it may have seen; pass cutoff=YYYY-MM from its model card"
            )
        return last_day(str(declared))

    def _clean(
        self, items: Sequence[DatedItem], loaded: LoadedModel, resources: Resources
    ) -> tuple[list[DatedItem], dict[str, Any]]:
        found = clean([i.question for i in items], resources, what="the dated items", items=True)
        left = [items[index] for index in found.kept]
        notes = {"overlap": found.report, "contaminated": found.dropped}
        if not self.references:
            return left, notes

        # Conversations are read as the model's own template writes them.
        read = partial(load_corpus, cache=resources.cache, tokenizer=loaded.tokenizer)
        texts = [text for ref in self.references for text in read(ref).documents]
        known = decontaminate([item.question for item in left], texts, OVERLAP_WORDS)
        notes["contaminated"] = found.dropped + len(known.dropped)
        return [left[index] for index in known.kept], notes

    def _prompt(self, loaded: LoadedModel, question: str) -> str:
        text = f"{_TASK}\n\nProblem: {question}"
        if not self.chat:
            return f"{text}\n\nSolution:"
        if not loaded.tokenizer.chat_template:
            raise UsageError(
                f"the model {loaded.source.ref!r} has no chat template; use chat=false"
            )
        return asked(loaded.tokenizer, text)

    def _rows(
        self,
        items: Sequence[DatedItem],
        grades: Sequence[Grade],
        cutoff: date,
        context: RowContext,
        notes: dict[str, Any],
    ) -> list[Row]:
        pairs = list(zip(items, grades, strict=True))
        newer = [(item, grade) for item, grade in pairs if item.date > cutoff]
        older = [(item, grade) for item, grade in pairs if item.date <= cutoff]
        rows = [
            _part(FRESH, newer, context, {"headline": True, **notes}),
            _part(
                SEEN, older, context,
                {"headline": False, "note": "the model may have seen these items"},
            ),
        ]  # fmt: skip
        years = [item.year for item in items]
        if len(set(years)) < 2:
            reason = "a slope needs items of at least two dates"
            return [*rows, context.missing(SLOPE, _METRICS[SLOPE], reason)]
        scores = [float(grade.correct) for grade in grades]
        slope, interval = bootstrap_slope(years, scores, seed=self.seed)
        return [
            *rows,
            context.figure(
                SLOPE, _METRICS[SLOPE], slope, unit="per year", interval=interval,
                details={"items": len(items), "months": _by_month(pairs)},
            ),
        ]  # fmt: skip


def _part(
    name: str,
    pairs: Sequence[tuple[DatedItem, Grade]],
    context: RowContext,
    details: dict[str, Any],
) -> Row:
    if not pairs:
        return context.missing(name, "accuracy", f"no items {name}", details=details)
    dates = {"first": pairs[0][0].date.isoformat(), "last": pairs[-1][0].date.isoformat()}
    shown = [
        {"id": item.id, "date": item.date.isoformat(), "answer": item.answer, "code": grade.code,
         "given": grade.answer}
        for item, grade in pairs[-_SAMPLES:]
    ]  # fmt: skip
    codes = dict(Counter(grade.code for _, grade in pairs))
    return context.accuracy(
        name, [grade.correct for _, grade in pairs],
        details={**details, **dates, "codes": codes, "samples": shown},
    )  # fmt: skip


def _by_month(pairs: Sequence[tuple[DatedItem, Grade]]) -> dict[str, dict[str, float]]:
    months: dict[str, list[bool]] = defaultdict(list)
    for item, grade in pairs:
        months[item.date.strftime("%Y-%m")].append(grade.correct)
    return {
        month: {"items": len(values), "accuracy": sum(values) / len(values)}
        for month, values in sorted(months.items())
    }
