"""Text to calibrate and measure on: named corpora and local files."""

import difflib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from autoprune.digest import digest_file
from autoprune.errors import UsageError
from autoprune.names import HUB, HUB_FORM
from autoprune.registry import Registry
from autoprune.store import Store
from autoprune.text.corpus import JOINT, Corpus
from autoprune.text.generated import GENERATED, Author, generated_corpus, is_generated
from autoprune.text.hub import TEXTS
from autoprune.text.rows import BUILDERS, HubRows, file_texts, split_column
from autoprune.text.wikipedia import sample_articles, sample_file

__all__ = ["CORPORA", "JOINT", "Author", "Corpus", "corpus_summary", "load_corpus"]

FILES = (".txt", *BUILDERS)

CORPORA: Registry[Callable[[Store | None], Corpus]] = Registry("corpus", "autoprune.corpora")


def load_corpus(
    ref: str,
    *,
    cache: Store | None = None,
    author: Author | None = None,
    tokenizer: Any | None = None,
) -> Corpus:
    """Load a corpus by name, from the dataset hub, or from a file."""
    file, column = split_column(ref)
    if ref.startswith(HUB):
        corpus = HubRows.from_text(ref).corpus(ref, tokenizer, cache)
    elif Path(file).suffix in FILES:
        path = Path(file).expanduser()
        if not path.is_file():
            raise UsageError(f"the corpus file {file!r} does not exist; check the path")
        text = path.suffix == ".txt"
        documents = _read_text(path) if text else file_texts(path, column, tokenizer)
        corpus = Corpus.of(path.name, documents, ordered=text)
    elif is_generated(ref):
        corpus = generated_corpus(ref, author, cache)
    elif ref in CORPORA:
        corpus = CORPORA.get(ref)(cache)
    else:
        names = [name for name, _ in CORPORA.items()]
        near = difflib.get_close_matches(ref, names, n=2, cutoff=0.4)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise UsageError(
            f"unknown corpus {ref!r}; {hint}allowed are {', '.join(names)}, {HUB_FORM}, or a "
            "path to a .txt, .json, .jsonl or .parquet file"
        )
    if not any(document.strip() for document in corpus.documents):
        raise UsageError(f"the corpus {ref!r} holds no text; give one with at least a page of it")
    return corpus


def corpus_summary(entry: Callable[[Store | None], Corpus]) -> str:
    """One line on what a registered corpus is and what it is for."""
    text: str = getattr(entry, "summary", "") or entry.__doc__ or ""
    return text.strip().partition("\n")[0]


for _text in TEXTS:
    CORPORA.add(_text.name, _text)


@CORPORA.register("wikipedia-sample")
def _wikipedia_sample(cache: Store | None) -> Corpus:
    """For both: articles that need no network; split in three wherever that matters."""
    source = sample_file()
    if cache is None:
        return Corpus.of("wikipedia-sample", sample_articles(source))
    key = {"kind": "wikipedia-sample", "version": 3, "source": digest_file(source)}
    return Corpus.of("wikipedia-sample", cache.texts(key, lambda: sample_articles(source)))


@CORPORA.register(GENERATED)
def _self_generated(cache: Store | None) -> Corpus:
    """To calibrate only: text that the model writes itself; nothing is measured on it."""
    # Without a model, this raises an error that says what to write instead.
    return generated_corpus(GENERATED, None, cache)


def _read_text(path: Path) -> Iterator[str]:
    try:
        # Split and joined at the same mark, so the text stays identical, byte for byte.
        yield from path.read_text(encoding="utf-8").split(JOINT)
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text ({error.reason}); convert it first") from error
