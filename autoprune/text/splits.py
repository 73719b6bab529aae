"""Three disjoint parts of a corpus: calibration, selection, sealed."""

from collections.abc import Sequence
from dataclasses import dataclass

from autoprune.digest import digest_json
from autoprune.errors import UsageError
from autoprune.text.corpora import JOINT, Corpus
from autoprune.text.hygiene import overlap, words

NAMES = ("calibration", "selection", "sealed")
SHARES = (0.4, 0.3, 0.3)
NGRAM = 13
MAX_OVERLAP = 0.01
# A long document may hold all of a short one and share less than that with it.
MAX_HELD = 0.1
PASSAGE_CHARACTERS = 2000


@dataclass(frozen=True)
class Shared:
    """A document that shares text with a part it must be disjoint from.

    Args:
        split: Part the document was drawn for.
        other: Part it shares text with.
        opening: Its first words.
        ratio: Share of its 13-grams that occur there.
        dropped: Whether it was dropped, for that share or for what it holds of a document there.
    """

    split: str
    other: str
    opening: str
    ratio: float
    dropped: bool


@dataclass(frozen=True)
class Splits:
    """The three parts and the results of the overlap check.

    Args:
        calibration: Text for statistics.
        selection: Text for the fitness of a search.
        sealed: Text for the final figure, used once.
        digest: SHA-256 over the three parts.
        shared: Documents with common 13-grams, dropped ones first.
        whole: SHA-256 of the corpus that was split.
        number: Seed of the draw, which identifies the split.
        sealed_documents: First 16 hex digits of the digest of each whole sealed document.
    """

    calibration: Corpus
    selection: Corpus
    sealed: Corpus
    digest: str
    shared: tuple[Shared, ...]
    whole: str
    number: int = 0
    sealed_documents: tuple[str, ...] = ()

    @property
    def corpus(self) -> str:
        """Name of the text that was split."""
        return self.sealed.name.rpartition("/")[0] or self.sealed.name


def split(corpus: Corpus, seed: int = 0, *, calibrate_on: Corpus | None = None) -> Splits:
    """Draw the three parts by document and check them for shared text.

    A document's part follows from the seed and its own text, so it does not depend on the order
    of the corpus. Independent documents are cut into passages, which are checked one by one for
    text that a model has seen. The parts of an ordered corpus are three stretches of its text. The
    windows of a part are spread over all of its documents and over all places in them; see
    :mod:`autoprune.text.spread`.

    Documents of the selection part with more than 1 % of their 13-grams in the sealed part are
    dropped, as are those of the calibration part with as many in either of the others (13-grams as
    in GPT-3, arXiv 2005.14165, appendix C). So are those that hold more than a tenth of a
    document of such a part, however long they are themselves.
    """
    corpus.measures()
    documents = [text for text in corpus.documents if corpus.ordered or text.strip()]
    if len(documents) < len(NAMES):
        raise UsageError(
            f"the corpus {corpus.name!r} has {len(documents)} documents and three parts are drawn "
            "from it; give at least 3 documents (in a .txt file, paragraphs)"
        )
    if not corpus.ordered:
        documents.sort(key=lambda text: digest_json([seed, text]))
    calibration, selection, sealed = _by_share(documents)
    if calibrate_on is not None:
        calibration = list(calibrate_on.documents)
    shared: list[Shared] = []
    selection = _without_overlap("selection", selection, {"sealed": sealed}, shared)
    others = {"selection": selection, "sealed": sealed}
    calibration = _without_overlap("calibration", calibration, others, shared)
    drawn = (calibration, selection, sealed)
    sources = (calibrate_on or corpus, corpus, corpus)
    parts = [_part(*entry, seed) for entry in zip(sources, NAMES, drawn, strict=True)]
    shared.sort(key=lambda entry: (not entry.dropped, -entry.ratio))
    digest = digest_json([part.digest for part in parts])
    names = tuple(digest_json(text)[:16] for text in sealed)
    return Splits(parts[0], parts[1], parts[2], digest, tuple(shared), corpus.digest, seed, names)


def _part(corpus: Corpus, name: str, texts: list[str], seed: int) -> Corpus:
    if corpus.ordered:
        entries = [(turn, 0, text) for turn, text in enumerate(texts)]
    else:
        # All first passages, then all second ones: recorded digests rely on this order.
        entries = sorted(
            (turn, document, passage)
            for document, text in enumerate(texts)
            for turn, passage in enumerate(_passages(text))
        )
    return corpus.keeping(
        (text for _, _, text in entries), f"{corpus.name}/{name}",
        places=((document, turn) for turn, document, _ in entries), spread=f"{seed} {name}",
    )  # fmt: skip


def _by_share(documents: Sequence[str]) -> list[list[str]]:
    """Non-empty consecutive runs whose lengths approximate the shares."""
    total = sum(map(len, documents)) or 1
    parts: list[list[str]] = [[], [], []]
    seen = part = 0
    for number, text in enumerate(documents):
        waiting = len(NAMES) - 1 - part
        full = seen >= total * sum(SHARES[: part + 1])
        must_move = len(documents) - number <= waiting
        if parts[part] and waiting and (full or must_move):
            part += 1
        parts[part].append(text)
        seen += len(text)
    return parts


def _without_overlap(
    name: str, documents: list[str], others: dict[str, list[str]], shared: list[Shared]
) -> list[str]:
    dropped: set[int] = set()
    for other, references in others.items():
        hits = overlap(documents, references, NGRAM)
        # All at once first: few references are held, and each text is looked up in those alone.
        held = _held(references, [documents[hit.document] for hit in hits])
        for hit in hits:
            text = documents[hit.document]
            ratio = hit.shared / max(1, len(words(text)) - NGRAM + 1)
            drop = ratio > MAX_OVERLAP or bool(_held(held, [text]))
            shared.append(Shared(name, other, " ".join(text.split()[:6]), ratio, drop))
            if drop:
                dropped.add(hit.document)
    return [text for index, text in enumerate(documents) if index not in dropped]


def _held(references: list[str], texts: list[str]) -> list[str]:
    """References of 13 words or more of which the texts hold more than a tenth."""
    # Nearly always one of both is empty, and the other need not be read.
    hits = overlap(references, texts, NGRAM) if references and texts else []
    grams = {hit.document: len(words(references[hit.document])) - NGRAM + 1 for hit in hits}
    return [
        references[hit.document] for hit in hits if hit.shared > MAX_HELD * grams[hit.document] > 0
    ]


def _passages(text: str) -> list[str]:
    passages: list[str] = []
    current: list[str] = []
    for paragraph in text.split(JOINT):
        current.append(paragraph)
        if sum(map(len, current)) >= PASSAGE_CHARACTERS:
            passages.append(JOINT.join(current))
            current = []
    if current:
        passages.append(JOINT.join(current))
    return passages
