"""Passages whose last word can be inferred from the preceding text, in the style of LAMBADA."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from autoprune.text.corpus import Corpus
from autoprune.text.spread import spread_order

# LAMBADA's passages have 75 words on average (arXiv 1606.06031, section 3).
CONTEXT_WORDS = 50
LEAST_LETTERS = 3

_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"'(\d])|\n+")
_WORD = re.compile(r"[^\W\d_]+")
# A heading has no full stop and is not a sentence.
_LAST = re.compile(r"([^\W\d_]+)[.!?][^\w\s]*$")


@dataclass(frozen=True)
class Passage:
    """One item.

    Args:
        context: The passage without its last word, no space at its end.
        word: The last word, as written.
        document: Number of the document it comes from.
    """

    context: str
    word: str
    document: int


def last_word_passages(corpus: Corpus, count: int) -> list[Passage]:
    """Passages of at least 50 words whose last word already occurred in them.

    A passage consists of whole sentences of one document, as few as reach the word count. Its last
    word has three letters or more. Passages do not overlap.
    """
    places = corpus.places or tuple((number, 0) for number in range(len(corpus.documents)))
    texts: dict[int, list[str]] = {}
    for (document, _), text in sorted(zip(places, corpus.documents, strict=True)):
        texts.setdefault(document, []).append(text)
    documents = list(texts)
    Random(corpus.spread).shuffle(documents)
    found = [
        passage for number in documents for text in texts[number]
        for passage in _passages(text, number)
    ]  # fmt: skip
    order = spread_order([passage.document for passage in found], f"{corpus.spread} last words")
    return [found[number] for number in order[:count]]


def _passages(text: str, document: int) -> Iterator[Passage]:
    seen: list[tuple[int, int]] = []
    for begin, end in _sentences(text):
        seen.append((begin, end))
        first = _start(text, seen, end)
        last = _LAST.search(text, begin, end)
        if first is None or last is None or len(last[1]) < LEAST_LETTERS:
            continue
        context = text[first : last.start()]
        earlier = {word.casefold() for word in _WORD.findall(context)}
        # The rest of a compound, such as ``sister-in-law``, is not a word by itself.
        alone = context.endswith((" ", "\n"))
        if alone and last[1].casefold() in earlier:
            yield Passage(context.rstrip(), last[1], document)
            seen = []


def _sentences(text: str) -> Iterator[tuple[int, int]]:
    begin = 0
    for gap in _SENTENCE.finditer(text):
        if text[begin : gap.start()].strip():
            yield begin, gap.start()
        begin = gap.end()
    if text[begin:].strip():
        yield begin, len(text.rstrip())


def _start(text: str, sentences: Sequence[tuple[int, int]], end: int) -> int | None:
    """Start of the shortest run of sentences before ``end`` that has enough words."""
    for begin, _ in reversed(sentences):
        if len(_WORD.findall(text, begin, end)) > CONTEXT_WORDS:
            return begin
    return None
