"""Base class of suites that ask one question about every passage of a text."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from autoprune.digest import digest_json
from autoprune.errors import UsageError
from autoprune.evaluation.finite import NotFiniteError, finite_logits
from autoprune.evaluation.suites.cleaning import NO_RESOURCES, Resources
from autoprune.evaluation.suites.provenance import model_protocol, model_provenance
from autoprune.evaluation.suites.rows import Row, RowContext
from autoprune.evaluation.suites.texts import (
    Lacking,
    Text,
    TextPart,
    distinct_names,
    missing_rows,
    not_enough,
    read_each,
    read_text,
)
from autoprune.models.loading import LoadedModel
from autoprune.progress import Report, silent

Passages = TypeVar("Passages")


@dataclass(frozen=True)
class PassageSuite(Generic[Passages]):
    """Measure a share of passages, with an interval over passages; one row per corpus.

    Args:
        corpora: Corpora by name or path.
        part: The whole corpus, or one of its three parts.
        items: Passages per corpus, spread over all of its documents; all of them if it has fewer.
        batch: Passages computed together.
        seed: Seed of the bootstrap, and of the choice of passages from a whole text.
        text_split: Number of the split that a part belongs to; it also selects the passages.
    """

    corpora: tuple[str, ...] = ("wikipedia-sample",)
    part: TextPart = "sealed"
    items: int = 100
    batch: int = 8
    seed: int = 0
    text_split: int = 0

    name: ClassVar[str]
    metric: ClassVar[str] = "accuracy"

    @abstractmethod
    def protocol(self) -> dict[str, Any]:
        """The suite's own protocol entries, version first."""

    @abstractmethod
    def passages(self, loaded: LoadedModel, text: Text, resources: Resources) -> Passages:
        """The passages of a text; ``UsageError`` if it is too short."""

    @abstractmethod
    def data(self, passages: Passages) -> Any:
        """The identity of the measured data, as plain JSON."""

    @abstractmethod
    def answers(
        self, loaded: LoadedModel, text: Text, passages: Passages, report: Report
    ) -> tuple[list[bool], dict[str, Any]]:
        """One answer per passage, and further details for the row."""

    def run(
        self, loaded: LoadedModel, *, report: Report = silent, resources: Resources = NO_RESOURCES
    ) -> list[Row]:
        """Measure; see :class:`autoprune.evaluation.suites.suite.Suite`."""
        own = self.protocol()
        shared = {"version": own.pop("version"), "part": self.part, **own, "seed": self.seed}
        protocol = model_protocol(loaded) | shared
        context = RowContext(self.name, protocol, model_provenance(loaded), self.seed)
        texts, lacking = self.texts(loaded, resources)
        rows = missing_rows(lacking, self.metric, context)
        return rows + [self._row(loaded, *entry, context, report) for entry in texts]

    def texts(
        self, loaded: LoadedModel, resources: Resources
    ) -> tuple[list[tuple[Text, Passages]], Lacking]:
        """Each text with its passages, and the reason for each reference that is unavailable."""

        def prepared(ref: str) -> tuple[Text, Passages]:
            text = read_text(loaded, ref, self.part, self.text_split, resources, seed=self.seed)
            try:
                return text, self.passages(loaded, text, resources)
            except UsageError as error:
                raise not_enough(text, error) from error

        found, lacking = read_each(self.corpora, resources, prepared)
        names = distinct_names([text for text, _ in found])
        return [(text, own) for text, (_, own) in zip(names, found, strict=True)], lacking

    def _row(
        self, loaded: LoadedModel, text: Text, found: Passages, context: RowContext, report: Report
    ) -> Row:
        what: dict[str, Any] = {"name": text.corpus.name, "metric": self.metric}
        data = digest_json(self.data(found))
        what["protocol"] = {"corpus": text.corpus.digest, "data": data}
        try:
            with finite_logits(loaded.model):
                answers, facts = self.answers(loaded, text, found, report)
        except NotFiniteError as error:
            return context.missing(**what, reason=str(error), status="not_finite")
        return context.accuracy(**what, correct=answers, details={**text.details, **facts})
