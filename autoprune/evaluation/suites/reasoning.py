"""Suite ``reasoning``: templated problems, greedy replies, strict grading."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from autoprune.digest import digest_json
from autoprune.errors import UsageError
from autoprune.evaluation.finite import NotFiniteError, finite_logits
from autoprune.evaluation.generation import check_length, greedy_replies
from autoprune.evaluation.grading.grader import GRADER_VERSION, Grader
from autoprune.evaluation.suites.cleaning import NO_RESOURCES, Resources
from autoprune.evaluation.suites.generators import GENERATORS, ReasoningItem, draw_items
from autoprune.evaluation.suites.provenance import model_protocol, model_provenance
from autoprune.evaluation.suites.rows import Row, RowContext
from autoprune.evaluation.suites.suite import SUITES
from autoprune.models.loading import LoadedModel
from autoprune.progress import Progress, Report, silent

# 2: a prompt never has two beginning tokens.
# 3: generation settings of the checkpoint have no effect; no example asks what is tested.
VERSION = 3
_MARKER = "Answer:"
_STOP = ("\n\n", "\nQuestion:")
_SAMPLES = 5


@SUITES.register("reasoning")
@dataclass(frozen=True)
class ReasoningSuite:
    """Accuracy per generator, and over all items.

    Args:
        generators: Names of generators; empty for all.
        items: Items per generator.
        seed: Seed of the items; another seed gives fresh ones.
        shots: Worked examples in the prompt.
        new_tokens: Longest reply in tokens.
        batch: Prompts computed together.
    """

    generators: tuple[str, ...] = ()
    items: int = 50
    seed: int = 0
    shots: int = 4
    new_tokens: int = 64
    batch: int = 8

    name = "reasoning"

    def __post_init__(self) -> None:
        if self.items < 1 or self.shots < 0 or self.new_tokens < 1 or self.batch < 1:
            raise UsageError(
                f"items {self.items}, shots {self.shots}, new_tokens {self.new_tokens}, batch "
                f"{self.batch} is not possible; shots may be 0, the others are at least 1"
            )
        for generator in self.generators:
            GENERATORS.get(generator)

    def check(self, loaded: LoadedModel, *, resources: Resources = NO_RESOURCES) -> None:
        """Draw all items and check that they fit.

        See :class:`autoprune.evaluation.suites.suite.Suite`.
        """
        for name in self._names():
            _, prompts = self._drawn(name)
            check_length(loaded, prompts, self.new_tokens)

    def computed_with(self) -> dict[str, Any]:
        """See :func:`autoprune.evaluation.suites.suite.computed_with`."""
        return {"grader": GRADER_VERSION}

    def run(
        self, loaded: LoadedModel, *, report: Report = silent, resources: Resources = NO_RESOURCES
    ) -> list[Row]:
        """Measure; see :class:`autoprune.evaluation.suites.suite.Suite`."""
        names = self._names()
        with Grader() as grader:
            settings = {
                "version": VERSION, "items": self.items, "seed": self.seed, "shots": self.shots,
                "new_tokens": self.new_tokens, "batch": self.batch, **grader.record(),
            }  # fmt: skip
            context = RowContext(
                self.name, model_protocol(loaded) | settings, model_provenance(loaded), self.seed
            )
            rows: list[Row] = []
            total = self.items * len(names)
            for number, name in enumerate(names, 1):
                done = self.items * number

                def inside(inner: Progress, done: int = done, name: str = name) -> None:
                    begun = done - self.items + min(inner.done, self.items - 1)
                    report(Progress(self.name, begun, total, name))

                rows.append(self._measure(loaded, name, context, grader, inside, resources))
                report(Progress(self.name, done, total, rows[-1].describe()[:80]))
        if len(names) > 1:
            rows.append(_over_all(context, names, rows))
        return rows

    def _names(self) -> tuple[str, ...]:
        return self.generators or tuple(name for name, _ in GENERATORS.items())

    def _drawn(self, name: str) -> tuple[list[ReasoningItem], list[str]]:
        """Items of a generator, and their prompts."""
        items = draw_items(name, self.items, self.seed)
        asked = {item.question for item in items}
        examples = draw_items(name, self.shots, self.seed, purpose="examples", excluded=asked)
        return items, [_prompt(examples, item) for item in items]

    def _measure(
        self,
        loaded: LoadedModel,
        name: str,
        context: RowContext,
        grader: Grader,
        report: Report,
        resources: Resources,
    ) -> Row:
        items, prompts = self._drawn(name)
        protocol = {"data": digest_json(prompts)}

        def written() -> list[str]:
            return greedy_replies(
                loaded, prompts, new_tokens=self.new_tokens, stop=_STOP, batch=self.batch,
                report=report,
            )  # fmt: skip

        try:
            with finite_logits(loaded.model):
                found = resources.keep(name, written)
        except NotFiniteError as error:
            return context.missing(
                name, "accuracy", str(error), status="not_finite", protocol=protocol
            )
        # A single step is answered right after the marker, which the prompt already holds.
        replies = [
            reply if item.solution else _MARKER + reply
            for item, reply in zip(items, found, strict=True)
        ]
        grades = [
            grader.grade_reply(reply, item.answer, marker=_MARKER)
            for item, reply in zip(items, replies, strict=True)
        ]
        shown = [
            {"question": item.question, "answer": item.answer, "reply": reply, "code": grade.code}
            for item, reply, grade in zip(items, replies, grades, strict=True)
        ]
        details = {"codes": dict(Counter(g.code for g in grades)), "samples": shown[:_SAMPLES]}
        return context.accuracy(
            name, [grade.correct for grade in grades], protocol=protocol, details=details
        )


def _over_all(context: RowContext, names: Sequence[str], rows: Sequence[Row]) -> Row:
    """The row over all generators' items; if one has no figure, a row with its reason."""
    broken = next((row for row in rows if row.status != "ok"), None)
    protocol = {"generators": list(names)}
    if broken is None:
        scores = [score for row in rows for score in row.items]
        return context.accuracy("all", scores, protocol=protocol)
    return context.missing(
        "all", "accuracy", broken.reason, status=broken.status, protocol=protocol
    )


def _prompt(examples: list[ReasoningItem], item: ReasoningItem) -> str:
    worked = [_question(e) + _worked(e) for e in examples]
    return "\n\n".join([*worked, _question(item) + ("Solution:" if item.solution else _MARKER)])


def _question(item: ReasoningItem) -> str:
    return f"Question: {item.question}\n"


def _worked(item: ReasoningItem) -> str:
    solution = f"Solution: {item.solution}\n" if item.solution else ""
    return f"{solution}{_MARKER} {item.answer}"
