"""What a corpus is: documents in a fixed order, with a digest that names them."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from autoprune.digest import digest_json
from autoprune.errors import UsageError

JOINT = "\n\n"
SPACE = " "


@dataclass(frozen=True)
class Corpus:
    """Documents in a fixed order.

    Args:
        name: For records.
        documents: The texts.
        digest: SHA-256 over the documents in order, and over ``joint`` where it is not the usual
            empty line.
        ordered: Whether the documents are consecutive parts of one text, which a split cuts into
            stretches; otherwise they are independent, and a split shuffles them.
        generated: Whether a model wrote the text; then it calibrates and never measures.
        test: Whether papers report figures on the text; then it should measure and not calibrate.
        joint: What stands between two documents when they are tokenised as one text.
    """

    name: str
    documents: tuple[str, ...]
    digest: str
    ordered: bool = False
    generated: bool = False
    test: bool = False
    joint: str = JOINT

    @classmethod
    def of(
        cls,
        name: str,
        documents: Iterable[str],
        *,
        ordered: bool = False,
        generated: bool = False,
        test: bool = False,
        joint: str = JOINT,
    ) -> "Corpus":
        """A corpus of ``documents`` with its digest computed."""
        texts = tuple(documents)
        return cls(name, texts, _digest(texts, joint), ordered, generated, test, joint)

    def keeping(self, documents: Iterable[str], name: str | None = None) -> "Corpus":
        """This kind of text with these documents only.

        Args:
            documents: The texts that are left.
            name: For records; None: the same.
        """
        texts = tuple(documents)
        digest = _digest(texts, self.joint)
        return replace(self, name=name or self.name, documents=texts, digest=digest)

    @property
    def text(self) -> str:
        """All documents as one text."""
        return self.joint.join(self.documents)

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

    def calibration_notes(self) -> list[str]:
        """What a reader of a model that is calibrated on this text must know; often nothing."""
        if not self.test:
            return []
        return [
            f"the corpus {self.name!r} is one that papers report figures on, and this model has "
            "now seen it: evaluate leaves out what it saw, so its figures on this text do not "
            "stand beside published ones; calibrate on c4 or another text that is not for figures"
        ]


def _digest(texts: tuple[str, ...], joint: str) -> str:
    return digest_json(list(texts) if joint == JOINT else [joint, list(texts)])
