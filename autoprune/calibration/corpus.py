"""What a corpus is: documents in a fixed order, with a digest that names them."""

from collections.abc import Iterable
from dataclasses import dataclass

from autoprune.digest import digest_json
from autoprune.errors import UsageError

JOINT = "\n\n"


@dataclass(frozen=True)
class Corpus:
    """Documents in a fixed order.

    Args:
        name: For records.
        documents: The texts.
        digest: SHA-256 over the documents in order.
        ordered: Whether the documents are consecutive parts of one text, which a split cuts into
            stretches; otherwise they are independent, and a split shuffles them.
        generated: Whether a model wrote the text; then it calibrates and never measures.
    """

    name: str
    documents: tuple[str, ...]
    digest: str
    ordered: bool = False
    generated: bool = False

    @classmethod
    def of(
        cls,
        name: str,
        documents: Iterable[str],
        *,
        ordered: bool = False,
        generated: bool = False,
    ) -> "Corpus":
        """A corpus of ``documents`` with its digest computed."""
        texts = tuple(documents)
        return cls(name, texts, digest_json(list(texts)), ordered, generated)

    @property
    def text(self) -> str:
        """All documents, joined by an empty line."""
        return JOINT.join(self.documents)

    def measures(self) -> "Corpus":
        """This corpus, if figures may be measured on it.

        Raises:
            UsageError: If a model wrote it: a model finds its own words likely, whatever was
                pruned away.
        """
        if self.generated:
            raise UsageError(
                f"the corpus {self.name!r} was written by the model itself, so it can calibrate "
                "but never measure; measure on a real text, such as wikipedia-sample or a file"
            )
        return self
