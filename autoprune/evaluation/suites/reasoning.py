"""Suite ``reasoning``: templated problems, greedy or best-of-n replies, strict grading."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from autoprune.digest import digest_json
from autoprune.errors import UsageError
from autoprune.evaluation.best_of import best_replies
from autoprune.evaluation.finite import NotFiniteError, finite_logits
from autoprune.evaluation.generation import check_length, greedy_replies, sampled_replies
from autoprune.evaluation.grading.grader import GRADER_VERSION, Grader
from autoprune.evaluation.suites.cleaning import NO_RESOURCES, Resources
from autoprune.evaluation.suites.generators import GENERATORS, ReasoningItem, draw_items
from autoprune.evaluation.suites.provenance import model_protocol, model_provenance
from autoprune.evaluation.suites.rows import Row, RowContext
from autoprune.evaluation.suites.suite import SUITES
from autoprune.models.loading import LoadedModel
from autoprune.progress import Progress, Report, silent
from autoprune.verify import StepVerifier, find_verifier, open_verifier
from autoprune.verify.verifier import Choice

# 2: a prompt never has two beginning tokens.
# 3: generation settings of the checkpoint have no effect; no example asks what is tested.
VERSION = 3
# Increased when sampled replies change and greedy ones stay. 2: a prompt is read once for all.
SAMPLING = 2
_MARKER = "Answer:"
_STOP = ("\n\n", "\nQuestion:")
_SAMPLES = 5
ACCURACY = "accuracy"
RANDOM_PICK = "random_pick"
GAIN = "gain_over_random_pick"


@SUITES.register("reasoning")
@dataclass(frozen=True)
class ReasoningSuite:
    """Accuracy per generator, and over all items.

    With ``best_of``, several replies are sampled for each question and a step verifier picks one.
    Further rows give the accuracy of a random pick, which is the mean over the replies, and the
    gain of the verifier's choice, paired by question.

    Args:
        generators: Names of generators; empty for all.
        items: Items per generator.
        seed: Seed of the items; another seed gives fresh ones.
        shots: Worked examples in the prompt.
        new_tokens: Longest reply in tokens.
        batch: Prompts computed together.
        best_of: Replies sampled for each question; 1 for the greedy one alone.
        verifier: Name of a step verifier, or folder of a trained one.
        choose: A reply's score: that of its lowest step, or the product of all.
        temperature: Sampling temperature.
    """

    generators: tuple[str, ...] = ()
    items: int = 50
    seed: int = 0
    shots: int = 4
    new_tokens: int = 64
    batch: int = 8
    best_of: int = 1
    verifier: str = ""
    choose: Choice = "lowest"
    temperature: float = 0.8

    name = "reasoning"

    def __post_init__(self) -> None:
        if self.items < 1 or self.shots < 0 or self.new_tokens < 1 or self.batch < 1:
            raise UsageError(
                f"items {self.items}, shots {self.shots}, new_tokens {self.new_tokens}, batch "
                f"{self.batch} is not possible; shots may be 0, the others are at least 1"
            )
        if self.best_of < 1 or (self.best_of > 1) != bool(self.verifier) or self.temperature <= 0:
            raise UsageError(
                f"best_of {self.best_of}, verifier {self.verifier!r}, temperature "
                f"{self.temperature:g} is not possible; best_of is 1 without a verifier and at "
                "least 2 with one, temperature above 0"
            )
        for generator in self.generators:
            GENERATORS.get(generator)
        if self.verifier:
            find_verifier(self.verifier)

    def check(self, loaded: LoadedModel, *, resources: Resources = NO_RESOURCES) -> None:
        """Draw all items, check that they fit, and open the verifier.

        See :class:`autoprune.evaluation.suites.suite.Suite`.
        """
        if self.verifier:
            open_verifier(self.verifier, loaded)
        for name in self._names():
            _, prompts = self._drawn(name)
            check_length(loaded, prompts, self.new_tokens)

    def computed_with(self) -> dict[str, Any]:
        """See :func:`autoprune.evaluation.suites.suite.computed_with`."""
        return {"grader": GRADER_VERSION} | ({"sampling": SAMPLING} if self.best_of > 1 else {})

    def run(
        self, loaded: LoadedModel, *, report: Report = silent, resources: Resources = NO_RESOURCES
    ) -> list[Row]:
        """Measure; see :class:`autoprune.evaluation.suites.suite.Suite`."""
        names = self._names()
        verifier = open_verifier(self.verifier, loaded) if self.verifier else None
        drawn: dict[str, object] = {}
        if verifier is not None:
            drawn = {
                "best_of": self.best_of,
                "choose": self.choose,
                "temperature": self.temperature,
            }
            drawn |= verifier.describe() | self.computed_with()
        with Grader() as grader:
            settings = {
                "version": VERSION, "items": self.items, "seed": self.seed, "shots": self.shots,
                "new_tokens": self.new_tokens, "batch": self.batch, **grader.record(), **drawn,
            }  # fmt: skip
            context = RowContext(
                self.name, model_protocol(loaded) | settings, model_provenance(loaded), self.seed
            )
            rows: list[Row] = []
            total = self.items * len(names)
            for number, name in enumerate(names, 1):
                done = self.items * number

                def inside(inner: Progress, done: int = done, name: str = name) -> None:
                    # Questions answered; the last one stays open while replies are verified.
                    answered = inner.done if inner.total == self.items else self.items
                    begun = done - self.items + min(answered, self.items - 1)
                    note = f"{name}: {inner.stage} {inner.done} of {inner.total}"
                    report(Progress(self.name, begun, total, note))

                rows += self._measure(loaded, name, context, grader, verifier, inside, resources)
                report(Progress(self.name, done, total, rows[-1].describe()[:80]))
        if len(names) > 1:
            for metric in dict.fromkeys(row.metric for row in rows):
                rows.append(_over_all(context, names, [r for r in rows if r.metric == metric]))
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
        verifier: StepVerifier | None,
        report: Report,
        resources: Resources,
    ) -> list[Row]:
        items, prompts = self._drawn(name)
        protocol = {"data": digest_json(prompts)}
        metrics = [ACCURACY] if verifier is None else [ACCURACY, RANDOM_PICK, GAIN]

        def written() -> list[list[str]]:
            return self._replies(loaded, prompts, report)

        try:
            with finite_logits(loaded.model):
                # A single step is answered right after the marker, which the prompt already holds.
                replies = [
                    [reply if item.solution else _MARKER + reply for reply in some]
                    for item, some in zip(items, resources.keep(name, written), strict=True)
                ]
                chosen = [0] * len(items)
                if verifier is not None:
                    questions = [item.question for item in items]
                    chosen = best_replies(verifier, questions, replies, self.choose, report)
        except NotFiniteError as error:
            reason = str(error)
            return [
                context.missing(name, metric, reason, status="not_finite", protocol=protocol)
                for metric in metrics
            ]
        grades = [
            [grader.grade_reply(reply, item.answer, marker=_MARKER) for reply in some]
            for item, some in zip(items, replies, strict=True)
        ]
        taken = [some[place] for some, place in zip(grades, chosen, strict=True)]
        shown = [
            {"question": item.question, "answer": item.answer, "reply": some[place],
             "code": grade.code}
            for item, some, place, grade in zip(items, replies, chosen, taken, strict=True)
        ]  # fmt: skip
        details = {"codes": dict(Counter(g.code for g in taken)), "samples": shown[:_SAMPLES]}
        scores = {ACCURACY: [float(grade.correct) for grade in taken]}
        if verifier is not None:
            scores[RANDOM_PICK] = [sum(g.correct for g in some) / len(some) for some in grades]
            pairs = zip(scores[ACCURACY], scores[RANDOM_PICK], strict=True)
            scores[GAIN] = [best - usual for best, usual in pairs]
        return [
            context.accuracy(
                name, found, metric=metric, differences=metric == GAIN, protocol=protocol,
                details=details if metric == ACCURACY else None,
            )
            for metric, found in scores.items()
        ]  # fmt: skip

    def _replies(self, loaded: LoadedModel, prompts: list[str], report: Report) -> list[list[str]]:
        """Replies to each prompt."""
        if self.best_of == 1:
            found = greedy_replies(
                loaded, prompts, new_tokens=self.new_tokens, stop=_STOP, batch=self.batch,
                report=report,
            )  # fmt: skip
            return [[one] for one in found]
        return sampled_replies(
            loaded,
            prompts,
            samples=self.best_of,
            new_tokens=self.new_tokens,
            temperature=self.temperature,
            seed=self.seed,
            stop=_STOP,
            report=report,
        )


def _over_all(context: RowContext, names: Sequence[str], rows: Sequence[Row]) -> Row:
    """The row over all generators' items; if one has no figure, a row with its reason."""
    broken = next((row for row in rows if row.status != "ok"), None)
    metric, protocol = rows[0].metric, {"generators": list(names)}
    if broken is None:
        scores = [score for row in rows for score in row.items]
        return context.accuracy(
            "all", scores, metric=metric, differences=metric == GAIN, protocol=protocol
        )
    return context.missing("all", metric, broken.reason, status=broken.status, protocol=protocol)


def _prompt(examples: list[ReasoningItem], item: ReasoningItem) -> str:
    worked = [_question(e) + _worked(e) for e in examples]
    return "\n\n".join([*worked, _question(item) + ("Solution:" if item.solution else _MARKER)])


def _question(item: ReasoningItem) -> str:
    return f"Question: {item.question}\n"


def _worked(item: ReasoningItem) -> str:
    solution = f"Solution: {item.solution}\n" if item.solution else ""
    return f"{solution}{_MARKER} {item.answer}"
