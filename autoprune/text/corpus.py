"""A corpus: documents in a fixed order, with a digest that identifies them."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import accumulate

from autoprune.digest import digest_json
from autoprune.errors import UsageError

JOINT = "\n\n"
SPACE = " "
# Of a text whose windows are spread, only about this many characters (some two million tokens) are
# read: of independent documents, a sample; of one text, this many stretches.
READ_CHARACTERS = 1 << 23
STRETCHES = 64


@dataclass(frozen=True)
class Corpus:
    """Documents in a fixed order.

    Args:
        name: Name in records.
        documents: The texts.
        digest: SHA-256 over the documents in order, and over ``joint`` if it is not the default
            empty line.
        ordered: Whether the documents are consecutive parts of one text, which a split cuts into
            stretches; otherwise they are independent, and a split shuffles them.
        generated: Whether a model wrote the text; if so, it is for calibration only.
        test: Whether papers report figures on the text; if so, it is not meant for calibration.
        joint: Separator between two documents when they are tokenised as one text.
        places: For a text whose windows are spread: for each entry of ``documents``, the number of
            the document it is a passage of, and its number there.
        spread: Seed of the order in which windows are taken; empty: consecutive windows from the
            start.
    """

    name: str
    documents: tuple[str, ...]
    digest: str
    ordered: bool = False
    generated: bool = False
    test: bool = False
    joint: str = JOINT
    places: tuple[tuple[int, int], ...] = ()
    spread: str = ""

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
        """Build a corpus of ``documents`` and compute its digest."""
        texts = tuple(documents)
        return cls(name, texts, _digest(texts, joint), ordered, generated, test, joint)

    def keeping(
        self,
        documents: Iterable[str],
        name: str | None = None,
        *,
        places: Iterable[tuple[int, int]] = (),
        spread: str = "",
    ) -> "Corpus":
        """A copy of this corpus with only these documents."""
        texts = tuple(documents)
        return replace(
            self, name=name or self.name, documents=texts, digest=_digest(texts, self.joint),
            places=tuple(places), spread=spread,
        )  # fmt: skip

    def subset(self, indices: Iterable[int]) -> "Corpus":
        """The documents with these indices, with their places."""
        chosen = tuple(indices)
        texts = (self.documents[index] for index in chosen)
        places = (self.places[index] for index in chosen) if self.places else ()
        return self.keeping(texts, places=places, spread=self.spread)

    def spread_by(self, seed: str) -> "Corpus":
        """The same documents, with windows taken in the spread order of another seed."""
        numbers = range(len(self.documents))
        whole = tuple((0, n) if self.ordered else (n, 0) for n in numbers)
        return replace(self, places=self.places or whole, spread=seed)

    def for_calibration(self, seed: int) -> "Corpus":
        """The same documents, with calibration windows spread over all of them.

        A run with windows to hold out of a recovery needs this most: the first windows of a text
        are one article, and a model that is near to the dense one there need not be elsewhere.
        """
        return self._stretches().spread_by(f"{seed} calibration")

    def _stretches(self) -> "Corpus":
        """Evenly spaced stretches of one long text, so that it need not be read as a whole."""
        sizes = [len(text) for text in self.documents]
        every = -(-sum(sizes) // READ_CHARACTERS)
        if not self.ordered or every < 2:
            return self
        starts = accumulate([0, *sizes[:-1]])
        stretch = READ_CHARACTERS // STRETCHES
        return self.subset(n for n, at in enumerate(starts) if at // stretch % every == 0)

    def draw(self, number: int) -> "Corpus":
        """Another draw of windows from this text with the same distribution; 0: this one."""
        if number == 0:
            return self
        named = replace(self, name=f"{self.name} {number}")
        return named.spread_by(f"{self.spread} draw {number}")

    @property
    def text(self) -> str:
        """All documents as one text."""
        return self.joint.join(self.documents)

    def measures(self) -> "Corpus":
        """Return this corpus if figures may be measured on it."""
        if self.generated:
            raise UsageError(
                f"the corpus {self.name!r} was written by the model itself, so it can calibrate "
                "but never measure; measure on a real text, such as wikipedia-sample or a file"
            )
        return self

    def calibration_notes(self) -> list[str]:
        """Notes for users of a model calibrated on this text; often none."""
        if not self.test:
            return []
        return [
            f"the corpus {self.name!r} is one that papers report figures on, and this model has "
            "now seen it: evaluate leaves out what it saw, so its figures on this text cannot be "
            "compared with published ones; calibrate on c4 or another text that is not for figures"
        ]


def _digest(texts: tuple[str, ...], joint: str) -> str:
    return digest_json(list(texts) if joint == JOINT else [joint, list(texts)])
