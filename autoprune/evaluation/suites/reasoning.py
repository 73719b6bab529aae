"""Suite ``reasoning``: templated problems, greedy replies, strict grading."""

from collections import Counter
from dataclasses import dataclass

from autoprune.digest import digest_json
from autoprune.errors import UsageError
from autoprune.evaluation.finite import NotFiniteError, finite_logits
from autoprune.evaluation.generation import check_length, greedy_replies
from autoprune.evaluation.grading.grader import Grader
from autoprune.evaluation.suites.cleaning import ALONE, Surroundings
from autoprune.evaluation.suites.generators import GENERATORS, Item, draw_items
from autoprune.evaluation.suites.provenance import model_protocol, model_provenance
from autoprune.evaluation.suites.rows import Row, RowContext
from autoprune.evaluation.suites.suite import SUITES
from autoprune.models.loading import LoadedModel
from autoprune.progress import Progress, Report, silent

# 2: a prompt never begins twice.
VERSION = 2
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

    def check(self, loaded: LoadedModel, *, around: Surroundings = ALONE) -> None:
        """Draw all items and see that they fit.

        See :class:`autoprune.evaluation.suites.suite.Suite`.

        Raises:
            UsageError: If a generator has not as many items, or a prompt and its reply are longer
                than the model's positions.
        """
        for name in self._names():
            _, prompts = self._drawn(name)
            check_length(loaded, prompts, self.new_tokens)

    def run(
        self, loaded: LoadedModel, *, report: Report = silent, around: Surroundings = ALONE
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
            rows = []
            for number, name in enumerate(names, 1):
                rows.append(self._measure(loaded, name, context, grader))
                report(Progress(self.name, number, len(names), rows[-1].describe()[:80]))
        if len(rows) > 1:
            scores = [score for row in rows for score in row.items]
            broken = next((row for row in rows if row.status != "ok"), None)
            protocol = {"generators": list(names)}
            rows.append(
                context.accuracy("all", scores, protocol=protocol)
                if broken is None
                else context.missing(
                    "all", "accuracy", broken.reason, status=broken.status, protocol=protocol
                )
            )
        return rows

    def _names(self) -> tuple[str, ...]:
        return self.generators or tuple(name for name, _ in GENERATORS.items())

    def _drawn(self, name: str) -> tuple[list[Item], list[str]]:
        """Items of a generator, and their prompts."""
        items = draw_items(name, self.items, self.seed)
        examples = draw_items(name, self.shots, self.seed, purpose="examples")
        return items, [_prompt(examples, item) for item in items]

    def _measure(self, loaded: LoadedModel, name: str, context: RowContext, grader: Grader) -> Row:
        items, prompts = self._drawn(name)
        protocol = {"data": digest_json(prompts)}
        try:
            with finite_logits(loaded.model):
                replies = greedy_replies(
                    loaded, prompts, new_tokens=self.new_tokens, stop=_STOP, batch=self.batch
                )
        except NotFiniteError as error:
            reason = str(error)
            return context.missing(name, "accuracy", reason, status="not_finite", protocol=protocol)
        grades = [
            # A single step is answered right after the marker, which the prompt already holds.
            grader.grade_reply(
                reply if item.solution else _MARKER + reply, item.answer, marker=_MARKER
            )
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


def _prompt(examples: list[Item], item: Item) -> str:
    worked = [_question(e) + _worked(e) for e in examples]
    return "\n\n".join([*worked, _question(item) + ("Solution:" if item.solution else _MARKER)])


def _question(item: Item) -> str:
    return f"Question: {item.question}\n"


def _worked(item: Item) -> str:
    solution = f"Solution: {item.solution}\n" if item.solution else ""
    return f"{solution}{_MARKER} {item.answer}"
